// Videos that belong together play, stop and jump together, and say to screen readers what they show.
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
  const name = () => {
    for (const video of document.querySelectorAll("video:not([aria-label])")) {
      const label = video.closest(".block")?.querySelector("label")?.textContent?.trim();
      video.setAttribute("aria-label", label || "Example clip");
    }
  };
  new MutationObserver(name).observe(document.documentElement, { childList: true, subtree: true });
})();
