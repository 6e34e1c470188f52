// Makes one call with the OpenAI SDK, as its order says, and prints what its user gets to see.

import OpenAI, { APIError, AzureOpenAI } from "openai";

const messages = [{ role: "user", content: "Who holds the key?" }];

function client({ credential, endpoint, headers, interface: kind, max_retries }) {
  const options = { maxRetries: max_retries, defaultHeaders: headers };
  if (kind === "v1") {
    const baseURL = `${endpoint}/openai/v1/`;
    return new OpenAI({ ...options, apiKey: credential.token, baseURL });
  }
  Object.assign(options, { endpoint, apiVersion: "2024-10-21" });
  return credential.key
    ? new AzureOpenAI({ ...options, apiKey: credential.key })
    : new AzureOpenAI({ ...options, azureADTokenProvider: async () => credential.token });
}

const calls = {
  async chat(client, model) {
    const answer = await client.chat.completions.create({ model, messages });
    return { model: answer.model, text: answer.choices[0].message.content };
  },

  async stream(client, model) {
    const request = { model, messages, stream: true, stream_options: { include_usage: true } };
    let [text, tokens, times] = ["", 0, []];
    for await (const chunk of await client.chat.completions.create(request)) {
      times.push(performance.now());
      tokens = chunk.usage?.total_tokens ?? tokens;
      text += chunk.choices.map((choice) => choice.delta.content ?? "").join("");
    }
    return { text, tokens, spread_ms: times.at(-1) - times[0] };
  },

  // Streams with `stream_options` as the order has it, or without, and tells all that was seen of usage.
  async count(client, model) {
    const options = order.stream_options ? { stream_options: order.stream_options } : {};
    const [usages, words] = [[], []];
    let empty = 0;
    const request = { model, messages, stream: true, ...options };
    for await (const chunk of await client.chat.completions.create(request)) {
      words.push(...chunk.choices.map((choice) => choice.delta.content ?? ""));
      if (chunk.usage) usages.push(chunk.usage.total_tokens);
      if (chunk.choices.length === 0) empty += 1;
    }
    return { text: words.join(""), usages, empty };
  },

  async embeddings(client, model) {
    const request = { model, input: ["one", "two"], encoding_format: "float" };
    const answer = await client.embeddings.create(request);
    return { model: answer.model, vectors: answer.data.map((item) => item.embedding) };
  },

  async models(client) {
    const models = [];
    for await (const model of client.models.list()) models.push(model.id);
    return { models };
  },

  async tuning(client) {
    const jobs = [];
    for await (const job of client.fineTuning.jobs.list()) jobs.push(job.id);
    return { jobs };
  },
};

async function outcome(order) {
  try {
    return await calls[order.call](client(order), order.model);
  } catch (error) {
    if (!(error instanceof APIError)) throw error;
    const { status, code, type, message } = error;
    return { class: error.constructor.name, status, code, type, message };
  }
}

const order = JSON.parse(process.argv[2]);
console.log(JSON.stringify(await outcome(order)));
