// A sound for each part that is NG, for who does not look at the screen. Off until somebody wants it here;
// the browser remembers. It is made, not played: nothing is loaded.

const KEY = "edge-agent-horn";
const PAUSE_MS = 800;
const button = document.querySelector("[data-horn]");
let context = null;
let last = -PAUSE_MS;

// A browser may keep no such thing; the page shows parts all the same.
function wanted() {
  try {
    return localStorage.getItem(KEY) === "on";
  } catch {
    return false;
  }
}

// Browsers let a page sound only after somebody has touched it.
function wake() {
  if (!wanted()) return;
  context ??= new AudioContext();
  context.onstatechange = tell;
  context.resume();
}

function tell() {
  const on = wanted();
  const silent = on && context?.state !== "running";
  button.setAttribute("aria-pressed", String(on));
  button.toggleAttribute("data-silent", silent);
  button.textContent = silent ? button.dataset.silentWord : button.dataset.word;
}

export function sound() {
  if (!wanted() || context?.state !== "running" || performance.now() - last < PAUSE_MS) return;
  last = performance.now();
  const loud = context.createGain();
  loud.connect(context.destination);
  const begin = context.currentTime;
  loud.gain.setValueAtTime(0.4, begin);
  loud.gain.setTargetAtTime(0, begin + 0.4, 0.03);
  const tone = context.createOscillator();
  tone.type = "square";
  tone.frequency.setValueAtTime(880, begin);
  tone.frequency.setValueAtTime(620, begin + 0.2);
  tone.connect(loud);
  tone.start(begin);
  tone.stop(begin + 0.6);
}

button.addEventListener("click", () => {
  // One that is silent for want of a touch is touched just now, and stays on.
  if (wanted() && context?.state === "running") localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, "on");
  last = -PAUSE_MS;
  wake();
  tell();
});
for (const touch of ["pointerdown", "keydown"]) {
  document.addEventListener(touch, (event) => { if (!button.contains(event.target)) wake(); });
}
tell();
