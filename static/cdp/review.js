// Keys of the review queue. Single keys can be switched off (WCAG 2.1.4) and never act while somebody types.
(() => {
  const page = document.getElementById("review");
  const help = document.getElementById("keys-help");
  const keysOn = document.getElementById("keys-on");
  if (!page || !help || !keysOn) return;

  const REMEMBERED = "cdp-review-keys";
  keysOn.checked = localStorage.getItem(REMEMBERED) !== "off";
  keysOn.addEventListener("change", () => localStorage.setItem(REMEMBERED, keysOn.checked ? "on" : "off"));

  const press = (id) => document.getElementById(id)?.click();
  const go = (address) => {
    if (address) window.location.assign(address);
  };
  const deeds = {
    j: () => go(page.dataset.next),
    k: () => go(page.dataset.previous),
    m: () => press("merge"),
    n: () => press("never"),
    s: () => press("skip"),
    u: () => press("undo"),
    "?": () => {
      help.open = !help.open;
      help.querySelector("summary").focus();
    },
  };

  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
    if (!keysOn.checked || typing || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    const deed = deeds[event.key.toLowerCase()];
    if (deed) {
      event.preventDefault();
      deed();
    }
  });
})();
