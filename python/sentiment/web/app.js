// One image at a time: it is shown at once, sent to the server, and the prediction is shown beside it.
"use strict";

const MAX_BYTES = 20_000_000;
const TYPES = ["image/jpeg", "image/png", "image/webp"];
const CROPS = ["upper left", "upper right", "lower left", "lower right", "centre"];

const at = (id) => document.getElementById(id);
const percent = (probability) => `${Math.round(100 * probability)} %`;
const sentiment = (probability) => (probability > 0.5 ? "positive" : "negative");

let models = [];
let image = null; // a Blob
let request = null; // the AbortController of the request under way

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer; is it still running?");
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  throw new Error(sentence(answer.error || `The server answered ${response.status}.`));
}

const sentence = (words) => words[0].toUpperCase() + words.slice(1) + (/[.!?]$/.test(words) ? "" : ".");
const of = (path, more = {}) => `${path}?${new URLSearchParams({ model: at("model").value, ...more })}`;

function complain(error) {
  if (error.name !== "AbortError") at("problem").textContent = error.message;
}

async function listModels() {
  models = await (await ask("/api/models")).json();
  if (!models.length) throw new Error("There is no trained network; run `make fold` or `make demo`, then reload.");
  const groups = new Map();
  for (const model of models) {
    if (!groups.has(model.group)) groups.set(model.group, element("optgroup", { label: model.group }));
    groups.get(model.group).append(element("option", { value: model.key, textContent: model.title }));
  }
  at("model").replaceChildren(...groups.values());
  // The best one: photographs before drawn images, then the highest accuracy.
  const rank = (model) => (model.accuracy === null ? 0 : 1 + model.accuracy + (model.demo ? 0 : 2));
  const best = models.reduce((one, other) => (rank(other) > rank(one) ? other : one));
  at("model").value = best.key;
}

function chooseModel() {
  const { title, group, accuracy } = models.find((model) => model.key === at("model").value);
  const tested = accuracy === null ? "not tested" : `right on ${percent(accuracy)} of its test images`;
  at("model-note").textContent = `${title} (${group}): ${tested}.`;
  showGallery().catch(complain);
  if (image) predict();
}

function take(file) {
  at("problem").textContent = "";
  if (!file) return;
  if (!TYPES.includes(file.type)) return complain(new Error(`${file.name || "That"} is not a JPEG, PNG or WebP image.`));
  if (file.size > MAX_BYTES) return complain(new Error(`${file.name || "That"} is larger than 20 MB; save it smaller.`));
  image = file;
  URL.revokeObjectURL(at("image").src);
  at("image").src = URL.createObjectURL(file);
  at("image").alt = file.name ? `The image ${file.name}` : "The image";
  predict();
}

async function predict() {
  request?.abort();
  const mine = (request = new AbortController());
  at("problem").textContent = "";
  at("result").hidden = false;
  at("result").classList.add("waiting");
  at("result").setAttribute("aria-busy", "true");
  at("verdict").className = "";
  at("verdict").textContent = "Predicting …";
  try {
    const options = { method: "POST", body: image, headers: { "Content-Type": image.type }, signal: mine.signal };
    show(await (await ask(of("/api/predict"), options)).json());
  } catch (error) {
    if (request !== mine) return; // a newer request is under way
    at("result").hidden = true;
    complain(error);
  }
  if (request !== mine) return;
  at("result").classList.remove("waiting");
  at("result").removeAttribute("aria-busy");
}

function show(answer) {
  const said = answer.positive > 0.5 ? answer.positive : 1 - answer.positive;
  at("verdict").className = answer.sentiment;
  at("verdict").textContent = `${sentence(answer.sentiment).slice(0, -1)}, ${percent(said)}`;
  at("agreement").textContent =
    `${answer.agreeing} of ${answer.crops.length} crops say ${answer.sentiment}. P(positive) goes from ` +
    `${percent(Math.min(...answer.crops))} to ${percent(Math.max(...answer.crops))}; of the centre crop alone it is ` +
    `${percent(answer.center)}.`;
  at("crops").tBodies[0].replaceChildren(
    ...CROPS.map((name, row) =>
      element("tr", {}, element("th", { scope: "row", textContent: name }),
        ...[row, row + CROPS.length].map((index) => cropCell(answer.crops[index], answer.sentiment))),
    ),
  );
  at("map").hidden = at("map-controls").hidden = !answer.map;
  at("map-problem").textContent = answer.map_problem ? sentence(`No map: ${answer.map_problem}`) : "";
  if (answer.map) drawMap(answer.map);
}

function cropCell(probability, verdict) {
  const lone = sentiment(probability) !== verdict;
  return element("td", {
    className: `${sentiment(probability)}${lone ? " lone" : ""}`,
    textContent: `${percent(probability)}${lone ? ` ${sentiment(probability)}` : ""}`,
  });
}

function drawMap(places) {
  const canvas = at("map");
  [canvas.height, canvas.width] = [places.length, places[0].length];
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  // As the paper draws them: green by P(positive), red by P(negative), half map and half image at 50 % opacity.
  places.flat().forEach((positive, index) => {
    pixels.data.set([255 * (1 - positive), 255 * positive, 0, 255], 4 * index);
  });
  context.putImageData(pixels, 0, 0);
  const all = places.flat();
  const count = all.filter((positive) => positive > 0.5).length;
  at("map-words").textContent =
    `${count} of ${all.length} places say positive; P(positive) goes from ${percent(Math.min(...all))} to ` +
    `${percent(Math.max(...all))}.`;
  at("places").tBodies[0].replaceChildren(
    ...places.map((row) =>
      element("tr", {}, ...row.map((positive) =>
        element("td", { className: sentiment(positive), textContent: Math.round(100 * positive) }))),
    ),
  );
}

function setOpacity() {
  const value = at("opacity").value;
  at("map").style.opacity = value / 100;
  at("opacity-value").textContent = `${value} %`;
  at("opacity").setAttribute("aria-valuetext", `${value} percent map`);
}

async function showGallery() {
  const key = at("model").value;
  const gallery = await (await ask(of("/api/gallery"))).json();
  if (key !== at("model").value) return;
  at("gallery").hidden = false;
  at("gallery-kinds").hidden = "problem" in gallery;
  at("gallery-words").textContent = gallery.problem ??
    `It is right on ${gallery.right} of its ${gallery.tested} test images. Choose one to see its map.`;
  for (const kind of ["best", "worst"]) {
    at(kind).replaceChildren(...(gallery[kind] ?? []).map(galleryItem));
    at(`${kind}-title`).hidden = !gallery[kind]?.length;
  }
}

function galleryItem(row) {
  const said = row.positive > 0.5 ? row.positive : 1 - row.positive;
  const words = `${sentiment(row.positive)} ${percent(said)}`;
  const url = of("/api/image", { name: row.name });
  const label = element("span", { className: sentiment(row.positive), textContent: words });
  const button = element("button", { type: "button" },
    element("img", { src: url, alt: "", loading: "lazy" }), label, `, labelled ${row.label ? "positive" : "negative"}`);
  button.addEventListener("click", async () => {
    try {
      const blob = await (await ask(url)).blob();
      take(new File([blob], row.name, { type: blob.type }));
      at("result").scrollIntoView({ block: "start" });
    } catch (error) {
      complain(error);
    }
  });
  return element("li", {}, button);
}

at("model").addEventListener("change", chooseModel);
at("opacity").addEventListener("input", setOpacity);
at("file").addEventListener("change", (event) => {
  take(event.target.files[0]);
  event.target.value = ""; // so that the same file can be chosen again
});
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files][0];
  if (file) take(file);
  else complain(new Error("There is no image in the clipboard."));
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const file = event.dataTransfer.files[0];
  if (file) take(file);
  else complain(new Error("That is not a file; save the image first, or copy and paste it."));
});

setOpacity();
listModels().then(chooseModel).catch(complain);
