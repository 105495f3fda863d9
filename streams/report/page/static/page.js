// The reader's own time zone, readings of charts, and dialogs. Every page works without it.
"use strict";
(() => {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const place = zone.split("/").pop().replaceAll("_", " ");
  const lang = document.documentElement.lang;

  function sayLocalTimes(root) {
    if (zone === "UTC" || zone === "Etc/UTC") return;
    for (const time of root.querySelectorAll("time[data-utc]")) {
      const at = new Date(time.dateTime);
      const isSameDay = at.getDate() === at.getUTCDate();
      const shown = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(isSameDay ? {} : { day: "numeric", month: "short" }) };
      const words = { time: new Intl.DateTimeFormat(lang, shown).format(at), place };
      const said = document.documentElement.dataset.zone.replace(/%\((\w+)\)s/g, (_, name) => words[name]);
      time.removeAttribute("data-utc");
      if (time.closest("td") && !time.closest(".dates")) {
        time.title = `${time.textContent} ${said}`;
        continue;
      }
      const span = document.createElement("span");
      span.className = "zone";
      span.textContent = ` ${said}`;
      time.append(span);
    }
  }

  function readChart(svg) {
    const points = [...svg.querySelectorAll(".points rect")];
    const reading = svg.parentElement.querySelector("[data-reading]");
    const silent = reading.textContent;
    let at = -1;
    function show(place) {
      if (points[at]) points[at].classList.remove("on");
      at = place;
      if (points[at]) points[at].classList.add("on");
      reading.textContent = points[at] ? points[at].querySelector("title").textContent : silent;
    }
    svg.addEventListener("pointermove", (event) => show(points.indexOf(event.target.closest(".points rect"))));
    svg.addEventListener("pointerleave", () => show(-1));
    svg.addEventListener("blur", () => show(-1));
    svg.addEventListener("keydown", (event) => {
      const last = points.length - 1;
      const step = { ArrowLeft: at < 0 ? last : at - 1, ArrowRight: at + 1, Home: 0, End: last }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      show(Math.min(last, Math.max(0, step)));
    });
  }

  function prepare(root) {
    sayLocalTimes(root);
    root.querySelectorAll("svg[data-chart]").forEach(readChart);
  }

  const dialog = document.getElementById("dialog");
  document.addEventListener("htmx:after:swap", () => {
    sayLocalTimes(document);
    if (!dialog || !dialog.childElementCount) return;
    if (!dialog.open) dialog.showModal();
    else if (!dialog.contains(document.activeElement)) dialog.querySelector("input:not([type=hidden])")?.focus();
  });
  // What cannot be shown in place is shown as a page of its own: a failure, a sign-in.
  document.addEventListener("htmx:before:swap", (event) => {
    const { ctx } = event.detail;
    const raw = ctx?.response?.raw;
    if (!raw || (raw.ok && !raw.redirected)) return;
    event.preventDefault();
    location.assign(raw.redirected ? raw.url : ctx.request.action);
  });
  if (dialog) {
    dialog.addEventListener("close", () => dialog.replaceChildren());
    dialog.addEventListener("click", (event) => {
      if (!event.target.closest("[data-close]")) return;
      event.preventDefault();
      dialog.close();
    });
  }
  prepare(document);
})();
