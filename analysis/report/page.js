/* The page of a report with scripts: figures that answer a pointer, tables that sort, pickers. Without
   scripts, and in print, the static figures and the whole tables stay. Plotly draws the panels; what it is
   given is the JSON beside each figure (analysis/figures/drawn.py). */
(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("scripted");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const picked = { layer: "", measure: "", setting: "" };
  const layerOf = (text) => (/^(\d+) · /.exec(text || "") || [])[1] || "";
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  function made(tag, properties = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (name in node) node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children);
    return node;
  }

  /* Colours: those of the paper's figures, lighter on a dark ground where they could not be seen. */
  const css = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const parts = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  function luminance(rgb) {
    const [r, g, b] = rgb.map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }
  function shade(hex, alpha = 1) {
    let rgb = parts(hex);
    if (dark.matches) {
      const ground = luminance(parts("#1b232b")) + 0.05;
      for (let step = 0; step < 9 && (luminance(rgb) + 0.05) / ground < 3.2; step += 1) {
        rgb = rgb.map((value) => Math.round(value + 0.16 * (255 - value)));
      }
    }
    return `rgba(${rgb.join(",")},${alpha})`;
  }

  const SYMBOLS = {
    o: "circle", s: "square", D: "diamond", "^": "triangle-up", v: "triangle-down", P: "cross",
    "*": "star", X: "x", h: "hexagon", "<": "triangle-left", ">": "triangle-right", p: "pentagon",
    d: "diamond-tall", ".": "circle",
  };
  const number = (value) => (value === null || value === undefined ? "–" : String(Number.isInteger(value) ? value : Number(value.toPrecision(4))));
  const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;");

  function hover(panel, series, at) {
    const low = series.low && series.low[at];
    const ends = low === undefined || low === null ? "" : ` [${number(low)}, ${number(series.high[at])}]`;
    const x = typeof series.x[at] === "number" ? number(series.x[at]) : series.x[at];
    return `<b>${plain(series.label || "")}</b><br>${plain(panel.x.label || "x")}: ${plain(x)}<br>` +
      `${plain(panel.y.label || "y")}: ${number(series.y[at])}${ends}`;
  }

  function lineTrace(panel, series, cell) {
    const marks = Boolean(series.marker);
    const lines = series.dash !== "none";
    const hollow = series.hollow ? "-open" : "";
    const framed = panel.cells && series.marker === "s";
    const size = framed ? 0.86 * cell : series.sizes || (series.marker === "." ? 4 : 7);
    const trace = {
      type: "scatter",
      x: series.at && series.at.length ? series.at : series.x,
      y: series.y,
      mode: marks && lines ? "lines+markers" : lines ? "lines" : "markers",
      text: series.y.map((_, at) => hover(panel, series, at)),
      hovertemplate: "%{text}<extra></extra>",
      line: { color: shade(series.color), width: series.width || 1.6, dash: series.dash === "none" ? "solid" : series.dash || "solid", shape: series.step ? "hv" : "linear" },
      marker: { color: shade(series.color), size: marks ? size : 1, symbol: (SYMBOLS[series.marker] || "circle") + hollow, line: { width: hollow ? (framed ? 2.5 : 1.5) : 0, color: shade(series.color) }, sizemode: "diameter" },
      cliponaxis: false,
      meta: series.group || "",
    };
    if (series.low && series.low.length) {
      trace.error_y = {
        type: "data", symmetric: false, width: 3, color: shade(series.color),
        thickness: Math.min(series.width || 1.6, 2),
        array: series.high.map((high, at) => (high === null ? 0 : high - series.y[at])),
        arrayminus: series.low.map((low, at) => (low === null ? 0 : series.y[at] - low)),
      };
    }
    return trace;
  }

  function bandTrace(band) {
    const x = band.at && band.at.length ? band.at : band.x;
    return {
      type: "scatter", mode: "lines", fill: "toself", hoverinfo: "skip", meta: band.group || "",
      x: [...x, ...[...x].reverse()], y: [...band.high, ...[...band.low].reverse()],
      line: { width: 0 }, fillcolor: shade(band.color, Math.max(0.12, band.alpha || 0.16)),
    };
  }

  function cellTrace(panel) {
    const cells = panel.cells;
    const found = { x: [], base: [], colors: [], text: [] };
    cells.rows.forEach((row, i) => cells.columns.forEach((column, j) => {
      const value = cells.values[i][j];
      if (value === null || !cells.colors[i][j]) return;
      found.x.push(j);
      found.base.push(i - 0.5);
      found.colors.push(cells.colors[i][j]);
      found.text.push(`${plain(panel.y.label || "row")}: ${plain(row)}<br>${plain(panel.x.label || "column")}: ${plain(column)}<br>${plain(cells.measure || "value")}: <b>${number(value)}</b>`);
    }));
    return {
      type: "bar", x: found.x, y: found.x.map(() => 1), base: found.base, width: 1, meta: "",
      marker: { color: found.colors, line: { width: 0 } }, customdata: found.text, textposition: "none",
      hovertemplate: "%{customdata}<extra></extra>",
    };
  }

  function axis(given, extra) {
    const log = given.scale === "log";
    const shown = {
      type: log ? "log" : "linear", range: given.range.map((end) => (log ? Math.log10(end) : end)),
      fixedrange: true, gridcolor: css("line"), linecolor: css("soft"), zeroline: false,
      tickfont: { color: css("soft"), size: 11 }, automargin: true, ...extra,
    };
    if (given.ticks && given.ticks.length) {
      Object.assign(shown, { tickmode: "array", tickvals: given.ticks, ticktext: given.words.map(plain) });
    }
    return shown;
  }

  function annotations(panel, cell) {
    const filled = (word) => (panel.cells.colors[word.y || 0] || [])[word.x || 0];
    return (panel.words || []).filter(() => !panel.cells || cell > 25).map((word) => ({
      x: panel.x.scale === "log" ? Math.log10(word.x || 0) : word.x || 0,
      y: word.of_height ? word.y : word.y || 0,
      yref: word.of_height ? "y domain" : "y", yanchor: word.of_height ? "top" : "middle",
      text: plain(word.text).replace(/\n/g, "<br>"), showarrow: false,
      font: { size: cell && cell < 34 ? 8.5 : 10, color: panel.cells && filled(word) ? word.color : css("soft") },
    }));
  }

  function layout(panel, width, height, label) {
    const cell = panel.cells ? Math.min(width - 60, height - 56) / Math.max(1, panel.cells.rows.length) : 0;
    return [{
      width, height, margin: { l: 44, r: 10, t: 8, b: 40 }, showlegend: false, dragmode: false,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: panel.cells ? css("line") : "rgba(0,0,0,0)", bargap: 0, barmode: "overlay",
      font: { family: "system-ui, 'DejaVu Sans', sans-serif", color: css("ink"), size: 12 },
      hovermode: "closest", hoverlabel: { bgcolor: css("paper"), bordercolor: css("soft"), font: { color: css("ink"), size: 12 }, align: "left" },
      xaxis: axis(panel.x, { title: { text: plain(label), font: { size: 12, color: css("soft") }, standoff: 6 }, showgrid: !panel.cells }),
      yaxis: axis(panel.y, { showgrid: !panel.cells }),
      annotations: annotations(panel, cell),
    }, cell];
  }

  /* The legend is of buttons, so that it can be used without a pointer. */
  function swatch(series) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("width", "26");
    svg.setAttribute("height", "12");
    svg.setAttribute("aria-hidden", "true");
    const colour = shade(series.color);
    const put = (tag, values) => {
      const node = document.createElementNS(svg.namespaceURI, tag);
      for (const [name, value] of Object.entries(values)) node.setAttribute(name, value);
      svg.append(node);
    };
    const dashes = { dash: "5 3", dot: "2 2", dashdot: "5 2 2 2" }[series.dash] || "none";
    if ("alpha" in series) put("rect", { x: 1, y: 1, width: 24, height: 10, fill: shade(series.color, 0.3) });
    else if (series.dash !== "none") put("line", { x1: 0, x2: 26, y1: 6, y2: 6, stroke: colour, "stroke-width": 2, "stroke-dasharray": dashes });
    const fill = series.hollow ? css("paper") : colour;
    const shapes = { s: "M9 2h8v8h-8z", D: "M13 1l5 5-5 5-5-5z", "^": "M13 1l5 9h-10z", v: "M13 11l5-9h-10z", X: "M9 2l8 8M17 2l-8 8" };
    if (series.marker && shapes[series.marker]) put("path", { d: shapes[series.marker], fill, stroke: colour, "stroke-width": 1.4 });
    else if (series.marker) put("circle", { cx: 13, cy: 6, r: 4, fill, stroke: colour, "stroke-width": 1.4 });
    return svg;
  }

  function legend(data, state, redraw) {
    const entries = new Map();
    for (const panel of data.panels) {
      for (const one of [...(panel.series || []), ...(panel.bands || [])]) {
        if (one.listed && one.label && !entries.has(one.group)) entries.set(one.group, one);
      }
    }
    if (entries.size < 2) return "";
    const list = made("div", { className: "legend", role: "group", "aria-label": "Legend: show or hide" });
    if (data.legend) list.append(made("span", {}, data.legend));
    for (const [group, one] of entries) {
      if (!fits(group)) continue;
      const button = made("button", { type: "button" }, swatch(one), made("span", {}, one.label));
      button.setAttribute("aria-pressed", String(!state.off.has(group)));
      button.addEventListener("click", () => {
        if (!state.off.delete(group)) state.off.add(group);
        button.setAttribute("aria-pressed", String(!state.off.has(group)));
        redraw();
      });
      list.append(button);
    }
    return list;
  }

  const fits = (text) => !picked.layer || !layerOf(text) || layerOf(text) === picked.layer;

  function numbers(data) {
    const box = made("details", { className: "numbers" }, made("summary", {}, "Numbers of this figure"));
    box.addEventListener("toggle", () => {
      if (!box.open || box.querySelector("table")) return;
      const rows = [];
      for (const panel of data.panels) {
        for (const series of panel.series || []) {
          series.x.forEach((x, at) => rows.push([panel.title || "", series.label || "", x, series.y[at], series.low && series.low[at], series.high && series.high[at]]));
        }
        if (panel.cells) panel.cells.rows.forEach((row, i) => panel.cells.columns.forEach((column, j) => rows.push([panel.title || "", row, column, panel.cells.values[i][j]])));
      }
      const shared = (which) => {
        const labels = new Set(data.panels.map((panel) => panel[which].label || which));
        return labels.size === 1 ? [...labels][0] : which;
      };
      const heads = ["panel", "series", shared("x"), shared("y"), "low", "high"];
      const table = made("table", {}, made("thead", {}, made("tr", {}, ...heads.map((head) => made("th", { scope: "col" }, head)))));
      table.append(made("tbody", {}, ...rows.slice(0, 400).map((row) => made("tr", {}, ...row.map((cell) => made("td", {}, typeof cell === "number" ? number(cell) : cell === undefined || cell === null ? "" : String(cell)))))));
      box.append(made("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Numbers of this figure" }, table));
      if (rows.length > 400) box.append(made("p", { className: "note" }, `${rows.length - 400} more rows are in the CSV.`));
    });
    return box;
  }

  const figures = all("figure").map((figure) => ({
    figure, live: figure.querySelector(".live"), source: figure.querySelector("script"),
    off: new Set(), seen: false, width: 0,
  }));

  function draw(state) {
    state.data ||= JSON.parse(state.source.textContent);
    const { data, live, figure } = state;
    live.hidden = false;
    figure.classList.add("drawn");
    state.width = live.clientWidth;
    const panels = data.panels.filter((panel) => fits(panel.title));
    if (!state.grid) {
      state.axis = made("p", { className: "axis" });
      state.grid = made("div", { className: "panels" });
      state.legend = made("div");
      live.append(state.legend, state.axis, state.grid, numbers(data));
    }
    const redraw = () => panelsInto(state, panels);
    state.legend.replaceChildren(legend(data, state, redraw));
    redraw();
  }

  function panelsInto(state, panels) {
    const { data, grid } = state;
    const columns = Math.max(1, Math.min(panels.length, data.columns || 1, Math.floor((state.width + 16) / 276)));
    const width = Math.floor((state.width - 16 * (columns - 1)) / columns);
    const cells = panels.some((panel) => panel.cells);
    const wide = Math.min(width, cells ? 460 : width);
    const height = cells ? Math.min(wide - 4, 460) : columns === 1 && panels.length === 1 ? Math.round(Math.min(440, Math.max(300, 0.55 * wide))) : 270;
    const labels = new Set(panels.map((panel) => panel.y.label || ""));
    state.axis.textContent = labels.size === 1 ? [...labels][0] && `Upwards: ${[...labels][0]}` : "";
    grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
    all(".plot", grid).forEach((plot) => Plotly.purge(plot));
    grid.replaceChildren();
    for (const panel of panels) {
      const plot = made("div", { className: "plot", role: "img", "aria-label": `${panel.title || "Panel"}: ${panel.y.label || "value"} against ${panel.x.label || "place"}` });
      const own = labels.size > 1 && panel.y.label ? made("p", { className: "axis" }, panel.y.label) : "";
      const head = panel.title ? made("h5", {}, panel.title) : "";
      grid.append(made("div", { className: "panel" }, head, own, plot));
      const [shown, cell] = layout(panel, wide, height, panel.x.label || "");
      const traces = [
        ...(panel.bands || []).map(bandTrace),
        ...(panel.cells ? [cellTrace(panel)] : []),
        ...(panel.series || []).map((series) => lineTrace(panel, series, cell)),
      ].filter((trace) => !state.off.has(trace.meta) && fits(trace.meta));
      Plotly.newPlot(plot, traces, shown, { displayModeBar: false, responsive: false });
    }
    const rule = document.getElementById("js-plotly-tester"); // where Plotly measures texts, out of sight
    if (rule) rule.setAttribute("aria-hidden", "true");
  }

  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const state = figures.find((one) => one.figure === entry.target);
      if (entry.isIntersecting && !state.seen) {
        state.seen = true;
        draw(state);
      }
    }
  }, { rootMargin: "900px" });
  const again = () => figures.filter((state) => state.seen && state.figure.offsetParent).forEach(draw);
  if (window.Plotly) {
    figures.forEach((state) => watch.observe(state.figure));
    dark.addEventListener("change", again);
    let waiting = 0;
    addEventListener("resize", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => figures.filter((state) => state.seen && state.live.clientWidth && state.live.clientWidth !== state.width).forEach(draw), 150);
    });
  }

  /* Tables sort by the value of a cell, or by its text; a row's remarks go with it. */
  const valueOf = (body, at) => {
    const cell = body.rows[0].cells[at];
    const told = cell.dataset.value === undefined ? cell.textContent.trim() : cell.dataset.value;
    const value = told === "" || told === "–" ? NaN : Number(told.replace(/[%,\s]/g, ""));
    return { text: told, value };
  };
  function compare(a, b) {
    if (!Number.isNaN(a.value) && !Number.isNaN(b.value)) return a.value - b.value;
    if (Number.isNaN(a.value) !== Number.isNaN(b.value)) return Number.isNaN(a.value) ? 1 : -1;
    return a.text.localeCompare(b.text, undefined, { numeric: true });
  }
  for (const table of all("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, at) => {
      const button = made("button", { type: "button" }, ...head.childNodes);
      if (head.title) button.setAttribute("aria-description", head.title);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const known = [...table.tBodies].map((body) => [valueOf(body, at), body]);
        const least = known.filter(([value]) => value.text === "" || value.text === "–");
        const rest = known.filter((one) => !least.includes(one)).sort(([a], [b]) => (down ? compare(b, a) : compare(a, b)));
        table.append(...[...rest, ...least].map(([, body]) => body));
      });
    });
  }

  /* Pickers: of a layer, a measure and a setting, where there are several. */
  function show() {
    for (const node of all("[data-layer], [data-measure], [data-setting]")) {
      node.hidden = Object.entries(picked).some(([name, value]) => value && node.dataset[name] !== undefined && node.dataset[name] !== value);
    }
    again();
  }
  const bar = document.querySelector(".pickers");
  for (const name of Object.keys(picked)) {
    const values = [...new Set(all(`[data-${name}]`).map((node) => node.dataset[name]))].filter(Boolean);
    if (values.length < 2) continue;
    if (name === "layer") values.sort((a, b) => a - b);
    const select = made("select", {}, made("option", { value: "" }, "all"), ...values.map((value) => made("option", { value }, value)));
    select.addEventListener("change", () => {
      picked[name] = select.value;
      show();
    });
    bar.append(made("label", {}, `${name[0].toUpperCase()}${name.slice(1)}`, select));
  }
  bar.hidden = !bar.children.length;
})();
