// Scrolls where another step, or the tour of another model, begins; at once, so that nobody has to follow a movement.

export default function ({ data }) {
  const before = document.headroomTurning;
  document.headroomTurning = { step: data.step, model: data.model };
  if (!before || (before.step === data.step && before.model === data.model)) return;
  const top = before.model === data.model ? ".st-key-step-card" : "[data-testid=stMain] h1";
  requestAnimationFrame(() => document.querySelector(top)?.scrollIntoView({ block: "start", behavior: "instant" }));
}
