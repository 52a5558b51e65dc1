// Before consent nothing is stored, nothing is sent: docs/events.md
((w, d, n) => {
const D = "cdp.device", Q = "cdp.queue", s = d.currentScript, L = w.localStorage,
U = new URL("/api/v1/events?key=" + s.dataset.key, s.src);
let wait = 1e3, timer, busy, early = w.cdp || [];

const on = () => !n.globalPrivacyControl && L.getItem(D),
id = () => [...crypto.getRandomValues(new Uint8Array(16))].map(b => (b + 256).toString(16).slice(1)).join(""),
queue = () => JSON.parse(L.getItem(Q) || "[]"),
keep = events => L.setItem(Q, JSON.stringify(events.slice(-200))),
body = events => JSON.stringify({consent: true, events}),
bare = a => a && a.split(/[?#]/)[0],
soon = ms => {clearTimeout(timer); timer = setTimeout(flush, ms)},

flush = () => {
  const sent = on() ? queue().slice(0, 20) : [];
  if (busy || !sent[0]) return;
  busy = 1;
  fetch(U, {method: "POST", body: body(sent), keepalive: true, credentials: "omit"}).then(r => {
    if (/409|429|5../.test(r.status)) throw r;
    if (on()) keep(queue().filter(e => !sent.some(x => x.id == e.id)));
    wait = 1e3; busy = 0; flush();
  }).catch(() => {busy = 0; soon(wait); wait = Math.min(wait * 2, 6e4)});
},

track = (type, properties = {}, identity) => {
  if (!on()) return;
  keep([...queue(), {id: id(), type, at: new Date().toISOString(), device: on(), properties, identity}]);
  soon(50);
},

cdp = w.cdp = {
  track,
  page: () => track("page_viewed", {url: bare(d.URL), title: d.title, referrer: bare(d.referrer)}),
  identify: who => track("customer_logged_in", {}, who),
  consent: yes => {
    if (!yes || n.globalPrivacyControl) {clearTimeout(timer); L.removeItem(D); L.removeItem(Q)}
    else if (!on()) {L.setItem(D, id()); cdp.page()}
  },
  push: ([verb, ...told]) => cdp[verb](...told)
};

// Nobody hears this answer: what is sent twice counts once.
w.addEventListener("pagehide", () => on() && queue()[0] && n.sendBeacon(U, body(queue().slice(0, 20))));
if (n.globalPrivacyControl) cdp.consent();
cdp.page();
early.forEach(cdp.push);
})(window, document, navigator);
