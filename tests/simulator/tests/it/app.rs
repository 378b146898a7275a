//! A simulator with a client in front of it.

use std::io::Cursor;
use std::time::Duration;

use calamine::{Data, Reader, Xlsx};
use jiff::Timestamp;
use meetlake_simulator::{ExportTimes, Fault, Knobs, Options, Server};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub(crate) struct App {
    pub(crate) server: Server,
    pub(crate) http: reqwest::Client,
    pub(crate) token: String,
}

/// Status, headers and body of an answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn code(&self) -> i64 {
        self.body["code"]
            .as_i64()
            .unwrap_or_else(|| panic!("no code in {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no header {name}"))
            .to_str()
            .unwrap()
    }
}

/// A sheet: its header, trimmed, and its rows.
#[derive(Debug, PartialEq)]
pub(crate) struct Sheet {
    pub(crate) raw_header: Vec<String>,
    pub(crate) rows: Vec<Vec<Data>>,
}

impl Sheet {
    pub(crate) fn column(&self, name: &str) -> usize {
        let position = self
            .raw_header
            .iter()
            .position(|header| header.trim() == name);
        position.unwrap_or_else(|| panic!("no column {name} in {:?}", self.raw_header))
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        let column = self.column(name);
        self.rows
            .iter()
            .map(|row| row[column].to_string())
            .collect()
    }
}

/// Options under which exports take milliseconds and limits are out of the way.
pub(crate) fn fast() -> Options {
    let mut options = Options::ending(Options::default().last_day, 100.0);
    options.quota_scale = 10_000.0;
    options.real_time_headers = false;
    options.knobs.export_times = ExportTimes {
        meeting_list: Duration::from_millis(300),
        participant_list: Duration::from_millis(300),
        participant_quality_list: Duration::from_millis(300),
        resource_reservation_list: Duration::from_millis(300),
    };
    options
}

pub(crate) fn with_knobs(change: impl FnOnce(&mut Knobs)) -> Options {
    let mut options = fast();
    change(&mut options.knobs);
    options
}

pub(crate) fn with_faults(faults: &[&str]) -> Options {
    Options {
        faults: faults
            .iter()
            .map(|fault| Fault::parse(fault).unwrap())
            .collect(),
        ..fast()
    }
}

impl App {
    pub(crate) async fn start(options: Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::start(listener, options).unwrap();
        // Fails only where another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut app = Self {
            server,
            http,
            token: String::new(),
        };
        app.token = app.tenant_token().await;
        app
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.base_url())
    }

    pub(crate) async fn tenant_token(&self) -> String {
        let options = self.server.options();
        let answer = self.login(&options.app_id, &options.app_secret).await;
        answer.body["tenant_access_token"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) async fn login(&self, app_id: &str, app_secret: &str) -> Answer {
        let body = json!({ "app_id": app_id, "app_secret": app_secret });
        self.post("/open-apis/auth/v3/tenant_access_token/internal", &body)
            .await
    }

    pub(crate) async fn oauth(&self, fields: &Value) -> Answer {
        let options = self.server.options();
        let mut body = json!({ "client_id": options.app_id, "client_secret": options.app_secret });
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        self.post("/open-apis/authen/v2/oauth/token", &body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.try_get(path).await.unwrap()
    }

    pub(crate) async fn try_get(&self, path: &str) -> reqwest::Result<Answer> {
        let request = self.http.get(self.url(path)).bearer_auth(&self.token);
        read(request.send().await?).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self
            .http
            .post(self.url(path))
            .bearer_auth(&self.token)
            .json(body);
        read(request.send().await.unwrap()).await.unwrap()
    }

    pub(crate) async fn submit(&self, kind: &str, body: &Value) -> Answer {
        self.post(&format!("/open-apis/vc/v1/exports/{kind}"), body)
            .await
    }

    /// Submits and gives the task's id.
    pub(crate) async fn task(&self, kind: &str, body: &Value) -> String {
        let answer = self.submit(kind, body).await;
        assert_eq!(answer.code(), 0, "{}", answer.body);
        answer.body["data"]["task_id"].as_str().unwrap().to_owned()
    }

    /// Polls until the task is done or failed.
    pub(crate) async fn finish(&self, task_id: &str) -> Value {
        for _ in 0..2_000 {
            let answer = self
                .get(&format!("/open-apis/vc/v1/exports/{task_id}"))
                .await;
            assert_eq!(answer.code(), 0, "{}", answer.body);
            if answer.body["data"]["status"] != json!(1) {
                return answer.body["data"].clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("task {task_id} never ends")
    }

    pub(crate) fn download_path(file_token: &str) -> String {
        format!(
            "/open-apis/vc/v1/exports/download?file_token={}",
            file_token.replace('=', "%3D")
        )
    }

    pub(crate) async fn download(&self, file_token: &str) -> reqwest::Result<Vec<u8>> {
        let request = self
            .http
            .get(self.url(&Self::download_path(file_token)))
            .bearer_auth(&self.token);
        Ok(request.send().await?.bytes().await?.to_vec())
    }

    /// The file of an export, from submit to download.
    pub(crate) async fn file(&self, kind: &str, body: &Value) -> Vec<u8> {
        let state = self.finish(&self.task(kind, body).await).await;
        assert_eq!(state["status"], json!(3), "{state}");
        self.download(state["file_token"].as_str().unwrap())
            .await
            .unwrap()
    }

    pub(crate) async fn sheet(&self, kind: &str, body: &Value) -> Sheet {
        sheets(self.file(kind, body).await).remove(0)
    }

    /// The window of all simulated days.
    pub(crate) fn window(&self) -> (Timestamp, Timestamp) {
        let company = self.server.company();
        (
            company.start_of_day(self.server.first_day()),
            company.start_of_day(self.server.last_day().tomorrow().unwrap()),
        )
    }

    /// A meeting list over all simulated days.
    pub(crate) async fn meetings(&self) -> Sheet {
        let (start, end) = self.window();
        self.sheet(
            "meeting_list",
            &json!({ "start_time": seconds(start), "end_time": seconds(end) }),
        )
        .await
    }
}

async fn read(response: reqwest::Response) -> reqwest::Result<Answer> {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let bytes = response.bytes().await?;
    let body =
        serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)));
    Ok(Answer {
        status,
        headers,
        body,
    })
}

pub(crate) fn seconds(instant: Timestamp) -> String {
    instant.as_second().to_string()
}

pub(crate) fn sheets(file: Vec<u8>) -> Vec<Sheet> {
    let mut workbook: Xlsx<_> = Xlsx::new(Cursor::new(file)).unwrap();
    let sheet = |(_, range): (String, calamine::Range<Data>)| {
        let mut rows: Vec<Vec<Data>> = range.rows().map(<[Data]>::to_vec).collect();
        let raw_header = rows.remove(0).iter().map(Data::to_string).collect();
        Sheet { raw_header, rows }
    };
    workbook.worksheets().into_iter().map(sheet).collect()
}

/// The instant that a cell shows.
pub(crate) fn instant(text: &str) -> Timestamp {
    let zoned = jiff::fmt::strtime::parse("%Y.%m.%d %H:%M:%S (GMT%:z)", text).unwrap();
    zoned.to_timestamp().unwrap()
}
