// Videos that belong together play, stop and jump together, and say to screen readers what they show. The timeline of
// actions follows them, and takes them to the segment that is pressed.
(() => {
  const group = () => [...document.querySelectorAll(".vr-synced video")];
  const follow = (event) => {
    const leader = event.target;
    if (!(leader instanceof HTMLVideoElement) || !leader.closest(".vr-synced") || leader.dataset.led) return;
    for (const video of group()) {
      if (video === leader || !video.duration) continue;
      video.dataset.led = "1";
      if (Math.abs(video.currentTime - leader.currentTime) > 0.15) video.currentTime = leader.currentTime;
      if (event.type === "play") video.play().catch(() => {});
      if (event.type === "pause") video.pause();
      setTimeout(() => delete video.dataset.led, 200);
    }
  };
  for (const type of ["play", "pause", "seeked"]) document.addEventListener(type, follow, true);
  const segmentOf = (event) => event.target instanceof Element && event.target.closest(".vr-segment");
  const tell = (event) => {
    const segment = segmentOf(event);
    if (!segment) return;
    segment.closest(".vr-timeline").querySelector(".vr-now").textContent = segment.getAttribute("aria-label");
  };
  for (const type of ["focusin", "pointerover"]) document.addEventListener(type, tell);
  document.addEventListener("click", (event) => {
    const segment = segmentOf(event);
    const video = group().find((one) => one.duration);
    // a little later than the border, where rounding could give the picture before; the other videos follow
    if (segment && video) video.currentTime = Math.min(Number(segment.dataset.startS) + 0.02, video.duration);
  });
  document.addEventListener("keydown", (event) => {
    const segment = segmentOf(event);
    if (!segment) return;
    const all = [...segment.parentElement.querySelectorAll(".vr-segment")];
    const place = all.indexOf(segment);
    const places = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: all.length - 1 };
    const next = all[places[event.key]];
    if (!(event.key in places)) return;
    event.preventDefault();
    if (!next) return;
    segment.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  const point = (event) => {
    const video = event.target;
    if (!(video instanceof HTMLVideoElement) || !video.closest(".vr-synced") || !video.duration) return;
    const share = `${(100 * video.currentTime) / video.duration}%`;
    for (const row of document.querySelectorAll(".vr-segments")) row.style.setProperty("--at", share);
  };
  for (const type of ["timeupdate", "seeked"]) document.addEventListener(type, point, true);
  const name = () => {
    for (const video of document.querySelectorAll("video:not([aria-label])")) {
      const label = video.closest(".block")?.querySelector("label")?.textContent?.trim();
      video.setAttribute("aria-label", label || "Example clip");
    }
  };
  new MutationObserver(name).observe(document.documentElement, { childList: true, subtree: true });
})();
