for (const section of document.querySelectorAll(".samples")) {
  const { kind, verdict, text, count } = section.querySelector("form").elements;
  const cards = [...section.querySelectorAll("article")].map((card) => [card, card.textContent.toLowerCase()]);
  function apply() {
    const words = text.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const [card, content] of cards) {
      const fits = (!kind.value || card.dataset.kind === kind.value)
        && (!verdict.value || card.dataset.verdict === verdict.value)
        && words.every((word) => content.includes(word));
      card.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${cards.length} samples`;
  }
  for (const control of [kind, verdict, text]) control.addEventListener("input", apply);
  section.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
}
