// Opens a realtime session through the gateway, as a browser does. In Node.js 22 or later:
//
//     TOKEN=… node client.mjs wss://gateway.example.com/openai/v1/realtime?model=gpt-realtime

/** Opens the session. A browser can set no header, so the token is one of the subprotocols. */
export function open(url, token) {
  return new WebSocket(url, ["realtime", `openai-insecure-api-key.${token}`]);
}

if (globalThis.process) {
  const socket = open(process.argv[2], process.env.TOKEN);
  socket.addEventListener("message", ({ data }) => {
    const event = JSON.parse(data);
    console.log(event.type, event.session.model);
    socket.close();
  });
  socket.addEventListener("error", () => {
    console.error("the handshake was refused; the gateway's access log has the reason");
    process.exitCode = 1;
  });
}
