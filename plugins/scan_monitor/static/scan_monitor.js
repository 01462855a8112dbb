"use strict";

// Light or dark as chosen in Airflow's UI, which is of the same origin and keeps the choice there.
function applyTheme() {
  const chosen = localStorage.getItem("theme");
  document.documentElement.dataset.theme = chosen === "light" || chosen === "dark" ? chosen : "system";
}
applyTheme();
addEventListener("storage", applyTheme);

// The frame that Airflow's UI shows the page in may open no other page, nor lead the UI to one; the UI itself may.
addEventListener("click", (event) => {
  const link = event.target.closest("a[target]");
  if (!link || window.parent === window) return;
  event.preventDefault();
  const outside = window.parent.document.createElement("a");
  Object.assign(outside, { href: link.href, target: link.target, rel: "noopener noreferrer" });
  window.parent.document.body.append(outside);
  outside.click();
  outside.remove();
});

// Of a scan that runs, show what has changed.
async function refresh() {
  const shown = document.querySelector("main[data-refresh]");
  if (!shown) return;
  if (!document.hidden) {
    const answer = await fetch(location.href, { credentials: "same-origin" }).catch(() => null);
    if (answer && answer.ok) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.querySelector("main");
      for (const open of shown.querySelectorAll("details[id][open]")) {
        const same = fresh.querySelector(`#${CSS.escape(open.id)}`);
        if (same) same.open = true;
      }
      shown.replaceWith(fresh);
    }
  }
  setTimeout(refresh, 1000 * Number(shown.dataset.refresh));
}
addEventListener("DOMContentLoaded", () => {
  const shown = document.querySelector("main[data-refresh]");
  if (shown) setTimeout(refresh, 1000 * Number(shown.dataset.refresh));
});
