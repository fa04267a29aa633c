// What the pages do besides showing: local times, copies of ids, keys, and the list of new rows. Everything else works without it.
"use strict";
(() => {
  const ROWS_MAX = 200;
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "local";
  const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
  const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
  const said = document.getElementById("said");

  const say = (text) => {
    said.textContent = text;
    setTimeout(() => { said.textContent = ""; }, 2000);
  };

  const copy = (text, what) => {
    if (!navigator.clipboard) { say("The browser does not allow copying here"); return; }
    navigator.clipboard.writeText(text).then(() => say(what + " copied"), () => say("Could not copy"));
  };

  const localTimes = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const date = new Date(time.dateTime);
      if (time.querySelector(".local") || Number.isNaN(date.getTime())) { continue; }
      time.title = whole.format(date) + " " + zone;
      // Within a line of text the local time is in the title only.
      if (!time.closest("td.when, .facts, .drawer")) { continue; }
      const span = document.createElement("span");
      span.className = "local";
      // The date is already there, unless it is another one here.
      const isSameDay = date.getDate() === date.getUTCDate();
      span.textContent = (isSameDay ? clock : whole).format(date) + " " + zone;
      time.append(span);
    }
  };

  const copyButtons = (root) => {
    if (!navigator.clipboard) { return; }
    for (const id of root.querySelectorAll("code[data-copy]")) {
      if (id.closest("summary") || id.nextElementSibling?.classList.contains("copy")) { continue; }
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = "Copy";
      button.setAttribute("aria-label", "Copy " + id.textContent);
      button.addEventListener("click", () => copy(id.dataset.copy, "Id"));
      id.after(button);
    }
  };

  const complete = (root) => { localTimes(root); copyButtons(root); };

  complete(document);
  for (const of of document.querySelectorAll(".local-zone")) { of.textContent = ", and local times are of " + zone; }
  for (const link of document.querySelectorAll("a[data-link]")) {
    link.addEventListener("click", (event) => {
      if (!navigator.clipboard) { return; }
      event.preventDefault();
      copy(link.href, "Link");
    });
  }

  // Enter searches, Shift and Enter begins a line. The slash leads to the search box.
  const box = document.getElementById("q");
  box?.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) { return; }
    event.preventDefault();
    box.form.requestSubmit();
  });
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.closest("input, textarea, select");
    if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey || !box) { return; }
    event.preventDefault();
    box.focus();
  });

  // What htmx has put into a drawer.
  document.body.addEventListener("htmx:afterSwap", (event) => complete(event.target));

  const rows = document.getElementById("rows");
  if (!rows) { return; }
  const pause = document.getElementById("pause");
  const state = document.getElementById("live-state");
  let paused = false;
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    state.textContent = paused ? "Paused. New rows are left out." : "New rows appear here.";
  });
  document.body.addEventListener("htmx:sseOpen", () => { state.textContent = "New rows appear here."; });
  document.body.addEventListener("htmx:sseError", () => { state.textContent = "The connection is lost. Trying again."; });
  document.body.addEventListener("htmx:sseBeforeMessage", (event) => { if (paused) { event.preventDefault(); } });
  document.body.addEventListener("htmx:sseMessage", () => {
    while (rows.children.length > ROWS_MAX) { rows.lastElementChild.remove(); }
    localTimes(rows);
  });
})();
