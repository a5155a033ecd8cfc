"use strict";

const $ = (id) => document.getElementById(id);
let chat = "";        // the conversation that is shown
let reply = null;     // the EventSource of the reply on its way
let lastText = "";    // what Retry sends again

async function ask(path, options = {}) {
  const response = await fetch(path, { headers: { "Content-Type": "application/json" }, ...options });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.error || "The server failed, try again later.");
  return body;
}

function show(role, text, note = "") {
  const message = document.createElement("div");
  message.className = `message ${role}`;
  const who = document.createElement("span");
  who.className = "who";
  who.textContent = role === "user" ? "You" : "Model";
  const said = document.createElement("span");
  said.className = "text";
  said.textContent = text;
  const small = document.createElement("span");
  small.className = "note";
  small.textContent = note;
  message.append(who, said, small);
  const log = $("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  log.append(message);
  if (atEnd) log.scrollTop = log.scrollHeight;
  return message;
}

function say(status, { busy = false, retry = false } = {}) {
  $("status").textContent = status;
  $("send").disabled = busy;
  $("stop").hidden = !busy;
  $("retry").hidden = !retry;
}

function used(usage) {
  return usage ? `\n${usage.input_tokens} tokens read, ${usage.output_tokens} written` : "";
}

// The reply from its beginning; the browser asks for the rest by itself if the line is cut.
function follow(key) {
  const message = show("assistant", "");
  message.setAttribute("aria-busy", "true"); // read out when it is whole, not word by word
  const text = message.querySelector(".text");
  const log = $("log");
  say("The model is writing…", { busy: true });
  const source = (reply = new EventSource(`/replies/${key}`));
  source.onmessage = (event) => {
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
    text.textContent += JSON.parse(event.data).content || "";
    if (atEnd) log.scrollTop = log.scrollHeight;
  };
  const end = (status, options) => {
    source.close();
    reply = null;
    message.removeAttribute("aria-busy");
    say(status, options);
    listChats();
  };
  source.addEventListener("finish", (event) => {
    message.querySelector(".note").textContent = used(JSON.parse(event.data).usage);
    end("");
  });
  source.addEventListener("cancelled", () => {
    message.querySelector(".note").textContent = "\nStopped";
    end("Stopped. What had come is kept.");
  });
  source.addEventListener("failed", (event) => {
    const failed = JSON.parse(event.data);
    message.classList.add("failed");
    message.querySelector(".note").textContent = `\n${failed.message}`;
    end("The reply failed.", { retry: true });
  });
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) end("The reply is not there any more.", { retry: true });
  };
  $("stop").onclick = () => {
    ask(`/replies/${key}/stop`, { method: "POST" });
    $("text").focus(); // the button is about to go
  };
}

async function send(text) {
  const asked = chat; // another one may be shown when the answer comes
  lastText = text;
  say("Sending…", { busy: true });
  const mine = show("user", text);
  try {
    const { key } = await ask(`/chats/${asked}/messages`, { method: "POST", body: JSON.stringify({ text }) });
    if (asked === chat) follow(key);
  } catch (error) {
    if (asked !== chat) return;
    mine.classList.add("failed");
    say(error.message, { retry: true });
  }
}

let opening = 0; // one that was opened earlier may be answered later

async function open(id) {
  const mine = ++opening;
  if (reply) reply.close(); // the reply goes on; it is followed again when one comes back
  reply = null;
  chat = id;
  location.hash = id;
  $("send").disabled = true; // until it is known what was said, and whether a reply is on its way
  let found;
  try {
    found = await ask(`/chats/${encodeURIComponent(id)}`);
  } catch (error) {
    if (mine === opening) say(`This conversation cannot be shown: ${error.message}`);
    return;
  }
  if (mine !== opening) return;
  $("log").replaceChildren();
  $("title").textContent = found.title;
  for (const message of found.messages) show(message.role, message.text, message.note);
  say("");
  if (found.running) {
    lastText = found.running.text;
    show("user", found.running.text);
    follow(found.running.key);
  }
  await listChats();
}

let listing = 0; // a list that was asked for earlier may come later

async function listChats() {
  const mine = ++listing;
  const chats = await ask("/chats");
  if (mine !== listing) return;
  const focused = document.activeElement.dataset.button; // whose button is about to be replaced
  const items = chats.map(({ id, title }) => {
    const item = document.createElement("li");
    const name = document.createElement("button");
    name.textContent = title;
    name.dataset.button = `open ${id}`;
    name.onclick = () => open(id).then(() => $("text").focus());
    if (id === chat) {
      name.setAttribute("aria-current", "true");
      $("title").textContent = title;
    }
    const remove = document.createElement("button");
    remove.textContent = "✕";
    remove.dataset.button = `delete ${id}`;
    remove.setAttribute("aria-label", `Delete ${title}`);
    remove.onclick = async () => {
      await ask(`/chats/${id}`, { method: "DELETE" });
      if (id === chat) await open(crypto.randomUUID());
      else await listChats();
      $("new").focus();
    };
    item.append(name, remove);
    return item;
  });
  $("chats").replaceChildren(...items);
  if (focused) $("chats").querySelector(`[data-button="${focused}"]`)?.focus();
}

$("form").onsubmit = (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || $("send").disabled) return;
  $("text").value = "";
  send(text);
};
$("text").onkeydown = (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("form").requestSubmit();
  }
};
$("retry").onclick = () => {
  send(lastText);
  $("text").focus();
};
$("new").onclick = () => open(crypto.randomUUID()).then(() => $("text").focus());
open(location.hash.slice(1) || crypto.randomUUID()).then(() => $("text").focus());
