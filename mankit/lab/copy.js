// A button that puts the first line of a text widget on the clipboard.
function render({ model, el }) {
    const button = el.appendChild(document.createElement("button")), name = "Copy as command";
    button.className = "jupyter-button lm-Widget jupyter-widgets";
    button.style.width = "auto";
    button.textContent = name;
    button.title = "Copies the mankit train command that makes this run, number for number";
    button.onclick = async () => {
        const source = await model.widget_manager.get_model(model.get("source"));
        await navigator.clipboard.writeText(source.get("value").split("\n")[0]);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = name; }, 1500);
    };
}

export default { render };
