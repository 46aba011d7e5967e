// A page whose view is asked for again and again while somebody looks.

export function keepAsking(address, everyMs, take) {
  const ask = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(address(), { cache: "no-store" });
      if (answer.status === 401) location.reload();
      if (answer.ok) take(await answer.json());
    } catch {
      // The stream beside it says that the page is cut off.
    }
  };
  setInterval(ask, everyMs);
  document.addEventListener("visibilitychange", ask);
  return ask;
}
