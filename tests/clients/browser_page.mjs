// Serves a page with browser_cases.mjs and the npm client from its own origin, and opens it in a headless browser.
// Prints the origin, reads a line of JSON with the input of the cases, prints the report of the page, and ends.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import readline from "node:readline";

const { MODULES, BROWSER, BROWSER_LIBRARIES, CASES } = process.env;
const TIME_MAX = 240_000;
const PAGE = `<!doctype html><meta charset="utf-8"><title>cases</title><link rel="icon" href="data:,">
<script>
  const tell = (what, body) => fetch(what, { method: "POST", body, keepalive: true });
  addEventListener("error", (event) => tell("/done", "FAILED page " + event.message));
  addEventListener("unhandledrejection", (event) => tell("/done", "FAILED page " + event.reason));
</script>
<script type="importmap">{"imports": {"openai": "/openai/index.mjs"}}</script>
<script type="module" src="/cases.mjs"></script>`;

let environment = "{}";
let browser;
let words = "";
const profile = mkdtempSync(path.join(tmpdir(), "browser-"));

/** Ends the browser with all its processes, which write to its profile until then. */
function end(code) {
  const gone = () => {
    rmSync(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
    process.exit(code);
  };
  if (!browser) return gone();
  browser.removeAllListeners("exit").on("exit", gone);
  process.kill(-browser.pid, "SIGKILL");
}

function file(name) {
  if (name === "/") return [PAGE, "text/html"];
  if (name === "/environment.json") return [environment, "application/json"];
  if (name === "/cases.mjs") return [readFileSync(CASES), "text/javascript"];
  return [readFileSync(path.join(MODULES, path.normalize(name))), "text/javascript"];
}

const server = http.createServer((request, response) => {
  if (request.method === "POST") {
    let body = "";
    request.setEncoding("utf8").on("data", (piece) => (body += piece));
    request.on("end", () => {
      response.end();
      console.log(body);
      if (request.url === "/done") end(body.startsWith("FAILED") ? 1 : 0);
    });
    return;
  }
  try {
    const [text, kind] = file(request.url);
    response.writeHead(200, { "content-type": `${kind}; charset=utf-8` }).end(text);
  } catch (error) {
    response.writeHead(404).end(`${error}`);
  }
});

server.listen(0, "127.0.0.1", () => console.log(`origin http://127.0.0.1:${server.address().port}`));
const input = readline.createInterface({ input: process.stdin });
input.once("close", () => browser ?? end(1));
input.once("line", (line) => {
  environment = line;
  // CI runs as root, where Chromium has no sandbox, and on few cores, where a separate GPU process only costs time.
  const flags = ["--headless=shell", "--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-dev-shm-usage"];
  flags.push("--disable-extensions", "--disable-background-networking", "--remote-debugging-port=0");
  const url = `http://127.0.0.1:${server.address().port}/`;
  browser = spawn(BROWSER, [...flags, `--user-data-dir=${profile}`, url], {
    env: { ...process.env, LD_LIBRARY_PATH: BROWSER_LIBRARIES, DBUS_SESSION_BUS_ADDRESS: "disabled:", HOME: profile },
    stdio: ["ignore", "ignore", "pipe"],
    detached: true,
  });
  browser.stderr.on("data", (piece) => (words = (words + piece).slice(-20_000)));
  browser.on("exit", (code) => {
    console.log(`FAILED page: the browser ended with ${code}\n${words}`);
    browser = undefined;
    end(1);
  });
  setTimeout(() => (console.log(`FAILED page: nothing more was reported\n${words}`), end(1)), TIME_MAX);
});
