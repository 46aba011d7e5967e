// The login needs no news of the agent, and hears none: nobody is logged in yet.

import "./dialogs.js";
import "./theme.js";
