// Asking the server: JSON in, JSON out; whatever goes wrong is an Error with one line to show.

const token = document.querySelector('meta[name="kalai-token"]').content;
const dataset = document.getElementById("page").dataset.dataset;
const base = `/api/${encodeURIComponent(dataset)}`;

/** The server does not answer: nothing can be saved. */
export class Gone extends Error {}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(`${base}/${path}`, options);
  } catch {
    throw new Gone("kalai review does not answer");
  }
  const said = await answer.json().catch(() => ({ error: answer.statusText }));
  if (!answer.ok) throw new Error(said.error);
  return said;
}

export const get = (path) => ask(path, {});

export const post = (path, body) =>
  ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Kalai-Token": token },
    body: JSON.stringify(body),
  });

/** Where a picture is; `of` names the data, so that a browser may keep it for ever. */
export const picture = (size, contentId, of) => `${base}/pictures/${size}/${contentId}?of=${of}`;
