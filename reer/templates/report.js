for (const button of document.querySelectorAll("button[data-toggle]")) {
  button.addEventListener("click", () => {
    const items = [...document.querySelectorAll(`#${button.dataset.toggle} details.item`)];
    const open = items.some((item) => !item.open);
    for (const item of items) item.open = open;
    button.textContent = open ? "Close all" : "Open all";
  });
}
