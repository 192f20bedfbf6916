// While somebody presents, keys step whatever was clicked before: Streamlit's own wait until no input has the focus.

const BUTTONS = { ArrowRight: ".st-key-next", PageDown: ".st-key-next", ArrowLeft: ".st-key-back", PageUp: ".st-key-back" };
const CHOICES = "input[type=radio], [role=radio], [role=radiogroup] *, [data-testid=stButtonGroup] *";
const WRITTEN_IN = "input:not([type=radio], [type=checkbox], [type=range]), textarea, select, [role=combobox]," +
  "[contenteditable=true], [role=dialog] *, [role=listbox] *, [data-testid=stPopoverBody] *";

const presents = () => document.querySelector(".st-key-script-presenting") !== null;

function focused() {
  let found = document.activeElement;
  while (found?.shadowRoot?.activeElement) found = found.shadowRoot.activeElement;
  return found;
}

// From a choice by keyboard: up and down choose, left and right step.
function step(event) {
  const to = BUTTONS[event.key], at = focused();
  if (!to || !presents() || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || !at?.matches(CHOICES))
    return;
  const button = document.querySelector(`${to} button`);
  if (!button) return; // a page without steps
  event.preventDefault();
  event.stopImmediatePropagation();
  at.blur();
  if (!button.disabled) button.click();
}

// From what a mouse or a finger has touched the focus goes back to the page, unless it is for writing.
function leave() {
  setTimeout(() => {
    const at = focused();
    if (presents() && at && at !== document.body && !at.matches(WRITTEN_IN)) at.blur();
  }, 100);
}

export default function () {
  if (document.headroomPresenting) return;
  document.headroomPresenting = true;
  addEventListener("keydown", step, true);
  addEventListener("pointerup", leave, true);
}
