// The connection to the server: one stream of events; when there is no seat, a question every 2 seconds.
// The page always knows how long ago it heard something.

import { fillParts } from "./bind.js";

const SILENT_MS = 4000;
const RETRY_MS = 1000;
const POLL_MS = 2000;
const NAMES = ["now", "models"];

// A machine that sleeps stops one of the two clocks; the older answer is the honest one.
export function stopwatch() {
  const [monotonic, wall] = [performance.now(), Date.now()];
  return () => Math.max(performance.now() - monotonic, Date.now() - wall, 0);
}

export function follow(handlers) {
  const body = document.body;
  let silence = stopwatch();
  let away = null;

  const take = (name, view) => {
    silence = stopwatch();
    away = view.agent.why ? { base: view.agent.away_s * 1000, passed: stopwatch() } : null;
    fillParts("agent", view.agent);
    handlers[name]?.(view);
  };

  let source = null;
  let opened = stopwatch();
  let again = 0;

  const close = () => {
    clearTimeout(again);
    source?.close();
    source = null;
  };

  const open = () => {
    close();
    opened = stopwatch(); // the silence goes on: to try is not to hear
    source = new EventSource(body.dataset.events);
    source.onopen = () => { body.dataset.link = "open"; silence = stopwatch(); };
    source.addEventListener("beat", () => { silence = stopwatch(); });
    for (const name of NAMES) source.addEventListener(name, (event) => take(name, JSON.parse(event.data)));
  };

  // The browser comes back by itself from most things; not from a refusal, and not from a silent line.
  const watch = () => {
    const refused = source?.readyState === EventSource.CLOSED;
    if (!source || (!refused && Math.min(silence(), opened()) < 2 * SILENT_MS)) return;
    close();
    poll().finally(() => { if (!document.hidden) again = setTimeout(open, refused ? POLL_MS : RETRY_MS); });
  };

  const poll = async () => {
    try {
      const answer = await fetch(body.dataset.snapshot, { cache: "no-store" });
      if (answer.status === 401) location.reload(); // logged out meanwhile
      if (!answer.ok) return;
      const views = await answer.json();
      body.dataset.link = "polling";
      for (const name of NAMES) take(name, views[name]);
    } catch {
      // The silence grows, and the page says so.
    }
  };

  setInterval(() => {
    if (silence() > SILENT_MS) body.dataset.link = "lost";
    else if (body.dataset.link === "lost") body.dataset.link = "open";
    const element = document.querySelector("[data-away]");
    element.textContent = away ? ageText((away.base + away.passed()) / 1000) : "";
  }, 200);
  setInterval(watch, RETRY_MS);
  // A page that nobody looks at holds no seat: browsers have few connections, and so has the server.
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  if (!document.hidden) open();
}

const locale = document.documentElement.lang;
const tenths = new Intl.NumberFormat(locale, { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export function ageText(seconds) {
  if (seconds < 10) return `${tenths.format(Math.floor(seconds * 10) / 10)} s`;
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}
