const slider = document.getElementById("frame");
const times = slider.dataset.times.split("|");
function show() {
  document.getElementById("shown").textContent = times[slider.value];
  for (const figure of document.querySelectorAll("figure"))
    figure.hidden = !figure.dataset.frames.split(" ").includes(slider.value);
}
slider.addEventListener("input", show);
show();
