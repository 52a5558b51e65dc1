// Keys of the review queue. Single keys can be switched off (WCAG 2.1.4) and never act while somebody types.
(() => {
  const page = document.getElementById("review");
  const help = document.getElementById("keys-help");
  if (!page || !help) return;

  const press = (id) => document.getElementById(id)?.click();
  const go = (address) => {
    if (address) window.location.assign(address);
  };
  const keep = (side) => {
    for (const choice of page.querySelectorAll(`input[name^="keep_"][value="${side}"]`)) choice.checked = true;
  };
  const deeds = {
    j: () => go(page.dataset.next),
    k: () => go(page.dataset.previous),
    m: () => press("merge"),
    n: () => press("never"),
    h: () => press("household"),
    s: () => press("skip"),
    u: () => press("undo"),
    1: () => keep("left"),
    2: () => keep("right"),
    "?": () => help.showModal(),
  };

  document.getElementById("help")?.addEventListener("click", () => help.showModal());
  document.getElementById("help-close")?.addEventListener("click", () => help.close());

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");
    if (page.dataset.keys !== "on" || typing || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (help.open) return; // the browser closes it with Escape
    // By its place too: on a French keyboard 1 and 2 are typed with Shift, and stand in the same place without it.
    const deed = deeds[event.key.toLowerCase()] ?? { Digit1: deeds[1], Digit2: deeds[2] }[event.code];
    if (deed) {
      event.preventDefault();
      deed();
    }
  });
})();
