// What Streamlit's own markup does not tell keyboards and screen readers, and no parameter of its elements can.

const SCROLL_BOXES = "pre, [data-testid=stVegaLiteChart]"; // what may be larger than its frame
const FOCUSABLE = "a[href], button, input, select, textarea, [tabindex]";
let asked = 0;

function mend() {
  asked = 0;
  const bar = document.querySelector(".st-key-pages");
  bar?.setAttribute("role", "navigation");
  bar?.setAttribute("aria-label", "Pages");
  const last = (path) => path.split("/").at(-1);
  for (const link of bar?.querySelectorAll("a") ?? []) {
    if (last(link.getAttribute("href")) === last(location.pathname)) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  for (const box of document.querySelectorAll(SCROLL_BOXES)) {
    const scrolls = box.scrollHeight > box.clientHeight + 1 || box.scrollWidth > box.clientWidth + 1;
    if (scrolls && !box.querySelector(FOCUSABLE)) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  }
}

// After the page has drawn, and never in the way of a hand.
function later() {
  asked ||= setTimeout(mend, 150);
}

export default function () {
  if (!document.headroomMended) {
    document.headroomMended = new MutationObserver(later);
    document.headroomMended.observe(document.body, { childList: true, subtree: true });
    addEventListener("resize", later);
  }
  later();
}
