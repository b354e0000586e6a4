// Requests to the server. Every failure is an Error with one line to show.

const token = document.querySelector('meta[name="kalai-token"]').content;
const dataset = document.getElementById("page").dataset.dataset;
const base = `/api/${encodeURIComponent(dataset)}`;

/** The server is not responding, so nothing can be saved. */
export class ServerGone extends Error {}

async function request(path, options) {
  let response;
  try {
    response = await fetch(`${base}/${path}`, options);
  } catch {
    throw new ServerGone("kalai review is not responding");
  }
  const answer = await response.json().catch(() => ({ error: response.statusText }));
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

export const get = (path) => request(path, {});

export const post = (path, body) =>
  request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Kalai-Token": token },
    body: JSON.stringify(body),
  });

/** Return an image's URL; it names the version of the data, so the browser may cache it. */
export const imageUrl = (size, contentId, version) =>
  `${base}/pictures/${size}/${contentId}?of=${version}`;
