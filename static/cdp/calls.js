// The console of tills' calls brings its tables up to date every few seconds, while somebody looks and does not read.
(() => {
  const part = document.getElementById("calls");
  const pause = document.getElementById("calls-pause");
  if (!part || !pause) return;
  const address = new URL(window.location.href);
  address.searchParams.set("part", "1");
  let held = false;
  pause.hidden = false;
  pause.addEventListener("click", () => {
    held = !held;
    pause.setAttribute("aria-pressed", String(held));
    pause.textContent = held ? pause.dataset.go : pause.dataset.pause;
  });

  // A table that was scrolled, or holds what has the focus or is being selected, is not taken away.
  const isRead = () =>
    part.contains(document.activeElement) || !window.getSelection()?.isCollapsed;

  const ask = async () => {
    if (!held && !document.hidden && !isRead()) {
      try {
        const answer = await fetch(address, { redirect: "error" });
        if (answer.ok) {
          const left = [...part.querySelectorAll(".cdp-scroll")].map((table) => table.scrollLeft);
          part.innerHTML = await answer.text();
          part.querySelectorAll(".cdp-scroll").forEach((table, place) => {
            table.scrollLeft = left[place] ?? 0;
          });
        }
      } catch {
        // The network is away, or nobody is signed in any more: the next time asks again.
      }
    }
    setTimeout(ask, 1000 * Number(part.dataset.seconds));
  };
  setTimeout(ask, 1000 * Number(part.dataset.seconds));
})();
