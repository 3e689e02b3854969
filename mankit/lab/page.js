// The panel's plots on a page: the newest picture of the record, drawn by plotly.js, which a page loads once.
// Drawing is idempotent: new numbers, another width, another theme and a page that is reloaded all just draw again.

function make(parent, tag, className = "", textContent = "") {
    return Object.assign(parent.appendChild(document.createElement(tag)), { className, textContent });
}

// --- plotly.js ---
async function load(library) {
    const unpacked = new Blob([library.get("packed")]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = new Blob([await new Response(unpacked).arrayBuffer()], { type: "text/javascript" });
    const url = URL.createObjectURL(script), others = globalThis.Plotly;
    try {
        await import(url);
        return globalThis.Plotly;
    } finally {
        globalThis.Plotly = others;  // what other parts of the page use stays theirs
        URL.revokeObjectURL(url);
    }
}

function plotly(library) {  // kept on the page: another panel or view doesn't load it again
    return globalThis.mankitPlotly ??= load(library).catch(error => {
        globalThis.mankitPlotly = undefined;
        throw error;
    });
}

// --- a picture in the page's colours ---
function theme(el) {
    const style = getComputedStyle(el), canvas = document.createElement("canvas").getContext("2d");
    const color = (name, usual) => style.getPropertyValue(name).trim() || usual;
    canvas.fillStyle = color("--jp-layout-color0", "white");  // reads as #rrggbb then
    return { paper: canvas.fillStyle, dark: /^#[0-7]/.test(canvas.fillStyle),
             ink: color("--jp-content-font-color1", "#222222"),
             grid: color("--jp-border-color2", "#dddddd"), line: color("--jp-border-color1", "#888888") };
}

function lighter(hex) {  // a dark colour's lightness mirrored: black is white, dark violet is light violet
    const parts = [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
    const more = Math.max(0, 255 - Math.min(...parts) - Math.max(...parts));
    return "#" + parts.map(part => (part + more).toString(16).padStart(2, "0")).join("");
}

function painted(picture, { paper, dark, ink, grid, line }) {  // a copy, since plotly changes what it is given
    const copy = JSON.parse(JSON.stringify(picture), (key, value) => {
        return dark && value === "white" ? paper : dark && /^#[0-9a-f]{6}$/i.test(value) ? lighter(value) : value;
    });
    copy.plots.forEach(({ data, layout }, i) => {
        data.forEach((trace, j) => { trace.colorscale = picture.plots[i].data[j].colorscale; });
        Object.assign(layout, { paper_bgcolor: paper, plot_bgcolor: paper, font: { ...layout.font, color: ink } });
        const frame = { gridcolor: grid, linecolor: line, tickcolor: line };
        for (const axis of [layout.xaxis, layout.yaxis]) Object.assign(axis, frame);
    });
    return copy;
}

// --- the view ---
function drawLegend(legend, entries, hidden, redraw) {
    const text = JSON.stringify([entries, [...hidden]]);
    if (legend.dataset.text === text) return;  // the button that has the focus keeps it
    legend.dataset.text = text;
    legend.replaceChildren(entries.length ? "block" : "");
    for (const { name, color, symbol } of entries) {
        const button = make(legend, "button");
        make(button, "span", "", symbol).style.color = color;
        button.append(` ${name}`);
        button.title = `Show or hide block ${name}`;
        button.ariaPressed = !hidden.has(name);
        button.onclick = () => { hidden.delete(name) || hidden.add(name); redraw(); };
    }
}

async function drawPlots(Plotly, grid, plots, hidden) {
    for (const { name, title, data, layout } of plots) {
        const figure = grid.querySelector(`.${name}`) ?? make(grid, "figure", name);
        (figure.querySelector("figcaption") ?? make(figure, "figcaption")).innerText = title;
        const div = figure.querySelector("div") ?? make(figure, "div");
        for (const trace of data) trace.visible = !hidden.has(trace.name);
        const size = { width: div.clientWidth, height: div.clientHeight };
        await Plotly.react(div, data, { ...layout, ...size }, { displayModeBar: false });
    }
}

function nameSliders(panel) {  // ipywidgets leaves them without a name for readers who can't see
    for (const part of panel?.querySelectorAll("[role=slider], .widget-readout[contenteditable]") ?? []) {
        const ariaLabel = part.closest("div:has(> .widget-label)")?.textContent.trim();
        Object.assign(part, { role: part.role ?? "textbox", ariaLabel });
    }
}

let views = 0;  // of one panel on this page: each has a module of its own

function count(record, by) {
    const page = sessionStorage.mankitPage ??= String(Math.random());  // stays when the page is reloaded
    record.send({ page, views: views += by });
}

async function render({ model, el, signal }) {
    el.classList.add("mankit-plots");
    const status = make(el, "p", "", "Loading the plots \u2026"), legend = make(el, "div", "mankit-legend");
    const grid = make(el, "div", "mankit-grid"), hidden = new Set();
    status.role = "status";
    let record, Plotly;
    for (let round = 1; !Plotly; round++) {
        try {
            record = await model.widget_manager.get_model(model.get("record"));
            Plotly = await plotly(await model.widget_manager.get_model(model.get("library")));
        } catch (error) {
            status.textContent = `Loading the plots \u2026 (${round} times in vain: ${error.message ?? error})`;
            await new Promise(resolve => setTimeout(resolve, 1000));
        }
        if (signal?.aborted) return;
    }
    let drawing = false, again = false;
    async function draw() {
        again = true;
        if (drawing || !el.clientWidth) return;  // not to be seen: the observer calls when it is
        drawing = true;
        try {
            while (again && !signal?.aborted) again = false, await drawOnce();
        } finally {  // after an error the next picture is tried again
            drawing = false;
        }
    }
    async function drawOnce() {
        const picture = record.get("picture"), { legend: entries, plots } = painted(picture, theme(el));
        await drawPlots(Plotly, grid, plots, hidden);
        drawLegend(legend, entries, hidden, draw);
        Object.assign(grid, { role: "img", ariaLabel: picture.words });
        nameSliders(el.closest(".mankit-panel"));
        status.remove();
        record.send({ drawn: picture.number });
    }
    const sizes = new ResizeObserver(draw), themes = new MutationObserver(draw);
    sizes.observe(el);
    themes.observe(document.body, { attributeFilter: ["data-jp-theme-name", "data-jp-theme-light", "class"] });
    record.on("change:picture", draw);
    count(record, +1);
    draw();  // at once, since no observer calls for a cell that is scrolled out of sight
    return () => {  // the cell or the notebook was closed
        sizes.disconnect(), themes.disconnect(), record.off("change:picture", draw);
        grid.querySelectorAll(".js-plotly-plot").forEach(div => Plotly.purge(div));
        count(record, -1);
    };
}

export default { render };
