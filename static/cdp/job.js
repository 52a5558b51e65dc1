// The page of a job asks each second how far the work got, and shows its result when it is over.
(() => {
  const job = document.getElementById("job");
  if (!job?.dataset.progress) return;
  const address = new URL(job.dataset.progress, window.location.href);
  const show = (id, text) => {
    document.getElementById(id).textContent = text;
  };

  const ask = async () => {
    try {
      const answer = await fetch(address, { headers: { Accept: "application/json" } });
      if (answer.ok) {
        const now = await answer.json();
        if (now.over) {
          window.location.reload();
          return;
        }
        show("job-state", now.label);
        show("job-done", now.done);
        show("job-total", now.total);
        if (now.step) show("job-step", now.step);
        const pace = document.getElementById("job-pace");
        if (pace) pace.textContent = now.pace;
        document.getElementById("job-bar").value = now.percent;
      }
    } catch {
      // The network is away: the next second asks again.
    }
    setTimeout(ask, 1000);
  };
  setTimeout(ask, 1000);
})();
