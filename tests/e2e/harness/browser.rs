//! A real browser without a window: Debian's chromium, driven by its chromedriver over WebDriver (W3C), which is JSON over HTTP.
//! A test needs a dozen calls of it, so there is no client library: this file is all of them. Sizes, colors and scripts are set by
//! the Chrome DevTools Protocol, which chromedriver passes through.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Stdio;

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::files::client;
use super::{TIMEOUT, eventually};

/// The key under which WebDriver gives an element's id.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Keys of WebDriver.
pub(crate) const TAB: &str = "\u{e004}";
pub(crate) const ENTER: &str = "\u{e007}";

/// A browser with one page.
pub(crate) struct Browser {
    _driver: Child,
    client: Client,
    /// `127.0.0.1:PORT`.
    address: String,
    session: String,
    _profile: TempDir,
}

// Without the end of its session, the browser would outlive its driver.
impl Drop for Browser {
    fn drop(&mut self) {
        let Ok(mut stream) = TcpStream::connect(&self.address) else { return };
        let request = format!(
            "DELETE /session/{} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.session, self.address
        );
        let _ = stream.set_read_timeout(Some(TIMEOUT));
        let _ = stream.write_all(request.as_bytes());
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    }
}

impl Browser {
    /// Starts a browser.
    pub(crate) async fn start() -> Self {
        let mut driver = Command::new("chromedriver")
            .args(["--port=0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver starts: install chromium and chromium-driver");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = loop {
            let line = tokio::time::timeout(TIMEOUT, lines.next_line()).await.unwrap().unwrap();
            let line = line.expect("chromedriver says its port");
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        // Its pipe must not fill.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let (address, client) = (format!("127.0.0.1:{port}"), client());
        let profile = tempfile::tempdir().unwrap();
        let data = format!("--user-data-dir={}", profile.path().display());
        // As root, which tests in a container are, chromium starts only without its sandbox.
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--lang=en-US",
            &data,
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": args },
        } } });
        let mut browser =
            Self { _driver: driver, client, address, session: String::new(), _profile: profile };
        let answer = browser.call(Method::POST, "/session", &wanted).await;
        answer["sessionId"].as_str().unwrap().clone_into(&mut browser.session);
        browser.size(1280, 900).await;
        browser
    }

    async fn call(&self, method: Method, path: &str, body: &Value) -> Value {
        match self.attempt(method, path, body).await {
            Ok(value) => value,
            Err(error) => panic!("{path}: {error:#}"),
        }
    }

    /// The same, where the browser may refuse: an element of a page that was just left is stale.
    async fn attempt(&self, method: Method, path: &str, body: &Value) -> Result<Value, Value> {
        let url = format!("http://{}{path}", self.address);
        let request = self.client.request(method.clone(), url).timeout(TIMEOUT);
        let request = match method {
            Method::POST => request.header("content-type", "application/json").body(body.to_string()),
            _ => request,
        };
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let said: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        if status == StatusCode::OK { Ok(said["value"].clone()) } else { Err(said) }
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.call(Method::POST, &format!("/session/{}{path}", self.session), &body).await
    }

    async fn get(&self, path: &str) -> Value {
        self.call(Method::GET, &format!("/session/{}{path}", self.session), &Value::Null).await
    }

    async fn devtools(&self, command: &str, params: Value) {
        self.post("/goog/cdp/execute", json!({ "cmd": command, "params": params })).await;
    }

    /// Opens a URL and waits until the page is loaded.
    pub(crate) async fn open(&self, url: &str) {
        self.post("/url", json!({ "url": url })).await;
    }

    /// The URL of the page.
    pub(crate) async fn url(&self) -> String {
        self.get("/url").await.as_str().unwrap().to_owned()
    }

    /// The page as HTML.
    pub(crate) async fn source(&self) -> String {
        self.get("/source").await.as_str().unwrap().to_owned()
    }

    /// The text of the page that people see.
    pub(crate) async fn text(&self) -> String {
        eventually("the page has a text", || self.text_now()).await
    }

    /// `None` while the browser goes from one page to the next.
    async fn text_now(&self) -> Option<String> {
        let session = format!("/session/{}", self.session);
        let wanted = json!({ "using": "css selector", "value": "body" });
        let body = self.attempt(Method::POST, &format!("{session}/element"), &wanted).await.ok()?;
        let path = format!("{session}/element/{}/text", body[ELEMENT].as_str()?);
        Some(self.attempt(Method::GET, &path, &Value::Null).await.ok()?.as_str()?.to_owned())
    }

    /// Waits until people see a text on the page; returns all of its text.
    pub(crate) async fn text_with(&self, wanted: &str) -> String {
        eventually(&format!("the page shows {wanted:?}"), || async {
            Some(self.text().await).filter(|text| text.contains(wanted))
        })
        .await
    }

    /// Runs a script in the page; returns its result.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] })).await
    }

    /// Runs a script that gives its result to the last of its arguments.
    pub(crate) async fn run_async(&self, script: &str) -> Value {
        self.post("/execute/async", json!({ "script": script, "args": [] })).await
    }

    /// The first element of a CSS selector.
    async fn find(&self, selector: &str) -> String {
        let found = self.post("/element", json!({ "using": "css selector", "value": selector })).await;
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Clicks on the first element of a CSS selector.
    pub(crate) async fn click(&self, selector: &str) {
        let element = self.find(selector).await;
        self.post(&format!("/element/{element}/click"), json!({})).await;
    }

    /// Types into the first element of a CSS selector.
    pub(crate) async fn type_into(&self, selector: &str, text: &str) {
        let element = self.find(selector).await;
        self.post(&format!("/element/{element}/value"), json!({ "text": text })).await;
    }

    /// Presses keys, one after the other, wherever the focus is.
    pub(crate) async fn press(&self, keys: &str) {
        let actions: Vec<Value> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|what| json!({ "type": what, "value": key })))
            .collect();
        self.post("/actions", json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] }))
            .await;
    }

    /// What the browser said about pages since the last call: errors of scripts, what the policy of a page forbids.
    pub(crate) async fn log(&self) -> Vec<String> {
        let entries = self.post("/se/log", json!({ "type": "browser" })).await;
        entries
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["message"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Makes the page this wide and high, in pixels.
    pub(crate) async fn size(&self, width: u32, height: u32) {
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Asks for dark or light colors.
    pub(crate) async fn colors(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": features })).await;
    }

    /// Switches the scripts of pages off.
    pub(crate) async fn without_scripts(&self) {
        self.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    }
}
