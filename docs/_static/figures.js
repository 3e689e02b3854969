// A picture becomes its interactive figure when its button is pressed or a mouse rests on it. plotly.js is loaded then.
const own = document.currentScript.src;
let library;  // loaded once a page

function plotly() {
    return library ??= new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = new URL("plotly.min.js", own);
        script.onload = () => resolve(window.Plotly);
        script.onerror = () => { library = undefined; reject(new Error("plotly.js can't be loaded")); };
        document.head.append(script);
    });
}

async function draw(figure, picture, button) {
    button.disabled = true;
    button.textContent = "Loading …";
    try {
        const Plotly = await plotly();
        const { data, layout, config } = JSON.parse(figure.querySelector("script").textContent);
        const drawn = Object.assign(document.createElement("div"), { className: "drawn", role: "img", ariaLabel: picture.alt });
        const { width, height } = picture.getBoundingClientRect();
        const high = Math.max(height, layout.height ?? 0);
        drawn.style.height = `${high}px`;
        picture.replaceWith(drawn);
        await Plotly.newPlot(drawn, data, { ...layout, width, height: high }, { ...config, responsive: false, displayModeBar: false });
        button.textContent = "Picture";
        button.onclick = () => { Plotly.purge(drawn); drawn.replaceWith(picture); offer(figure, picture, button); };
    } catch (error) {
        button.textContent = `${error.message}: try again`;
    }
    button.disabled = false;
}

function offer(figure, picture, button) {
    const start = () => draw(figure, picture, button);
    button.textContent = "Interactive";
    button.onclick = start;
}

for (const figure of document.querySelectorAll("figure.plot")) {
    const picture = figure.querySelector("img"), button = figure.querySelector("button");
    button.hidden = false;
    offer(figure, picture, button);
    let resting;
    picture.onpointerenter = event => {
        if (event.pointerType === "mouse") resting = setTimeout(() => button.onclick(), 600);
    };
    picture.onpointerleave = () => clearTimeout(resting);
    if (figure.scrollWidth > figure.clientWidth) figure.tabIndex = 0;  // scrolled by keys too
}
