// A page without a page: the AI SDK's own chat, its transport, and what it makes of a response.
// Lines of JSON in: {version, headers, body (base64)}; one line of JSON out for each.

import { createInterface } from 'node:readline';

const CUT_BYTES = 7; // events and characters are cut by the network, too

class State {
  status = 'ready';
  error = undefined;
  messages = [];
  pushMessage = message => { this.messages = [...this.messages, message]; };
  popMessage = () => { this.messages = this.messages.slice(0, -1); };
  replaceMessage = (index, message) => {
    this.messages = this.messages.with(index, this.snapshot(message));
  };
  snapshot = value => structuredClone(value);
}

function streamOf(bytes) {
  return new ReadableStream({
    start(controller) {
      for (let at = 0; at < bytes.length; at += CUT_BYTES) {
        controller.enqueue(bytes.subarray(at, at + CUT_BYTES));
      }
      controller.close();
    },
  });
}

async function read({ version, headers, body }) {
  const { AbstractChat, DefaultChatTransport } = await import(`ai${version}`);
  const chunks = [];
  const calls = [];

  class Transport extends DefaultChatTransport {
    processResponseStream(stream) {
      const record = new TransformStream({
        transform(chunk, controller) {
          chunks.push(chunk.type);
          controller.enqueue(chunk);
        },
      });
      return super.processResponseStream(stream).pipeThrough(record);
    }
  }

  class Chat extends AbstractChat {}

  const bytes = new Uint8Array(Buffer.from(body, 'base64'));
  const state = new State();
  let end;
  const chat = new Chat({
    state,
    transport: new Transport({ fetch: async () => new Response(streamOf(bytes), { headers }) }),
    onToolCall: ({ toolCall }) => { calls.push([toolCall.toolCallId, toolCall.input]); },
    onFinish: found => { end = found; },
  });
  await chat.sendMessage({ text: 'Hi' });
  const last = state.messages.at(-1);
  return {
    status: chat.status,
    error: chat.error?.message ?? null,
    id: last.id,
    parts: last.role === 'assistant' ? last.parts : [],
    metadata: last.metadata ?? null,
    finishReason: end?.finishReason ?? null,
    chunks,
    calls,
  };
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await read(JSON.parse(line))));
}
