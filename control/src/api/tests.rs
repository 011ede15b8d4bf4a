use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;
use crate::client::{Client, ClientError};

#[derive(Default)]
struct Fake {
    commands: AtomicU32,
    sick: AtomicBool,
}

/// Says something every second time it is asked.
struct Countdown(u32);

impl Source for Countdown {
    fn read(&mut self) -> String {
        self.0 = self.0.saturating_sub(1);
        if self.0 % 2 == 1 { format!("{}\n", self.0) } else { String::new() }
    }

    fn is_over(&self) -> bool {
        self.0 == 0
    }
}

impl Backend for Fake {
    fn ip(&self, args: &[String]) -> Reply {
        self.commands.fetch_add(1, Ordering::Relaxed);
        match args.first().map(String::as_str) {
            Some("bad") => Reply::failed(1, "skiff: ip bad: File exists\n"),
            _ => Reply::ok(args.join(" ")),
        }
    }

    fn trace(&self, request: &TraceRequest) -> Result<Box<dyn Source>, Reply> {
        match request.device.as_deref() {
            Some("nowhere") => Err(Reply::failed(1, "skiff: trace: nowhere: no such interface\n")),
            _ => Ok(Box::new(Countdown(request.count))),
        }
    }

    fn bond(&self, name: Option<&str>, json: bool) -> Reply {
        Reply::ok(format!("{name:?} {json}"))
    }

    fn netfilter(&self, program: Program, call: &Call) -> Reply {
        Reply::ok(format!("{} {} {}", program.name(), call.args.join(" "), call.input.len()))
    }

    fn tc(&self, call: &tc::Call) -> Reply {
        Reply::ok(format!("{} {}", call.args.join(" "), call.input.len()))
    }

    fn show(&self, what: Show, json: bool) -> Reply {
        Reply::ok(format!("{what:?} {json}"))
    }

    fn capture(&self, request: &CaptureRequest) -> Result<(u64, CaptureBody), Reply> {
        Err(Reply::failed(1, format!("skiff: capture: {:?}\n", request.device)))
    }

    fn capture_end(&self, id: u64) -> Option<Totals> {
        (id == 7).then(Totals::default)
    }

    fn metrics(&self) -> String {
        "skiff_up 1\n".to_owned()
    }

    fn healthy(&self) -> Result<(), String> {
        if self.sick.load(Ordering::Relaxed) { Err("lcore 1 stands still".to_owned()) } else { Ok(()) }
    }
}

struct Bench {
    directory: tempfile::TempDir,
    backend: Arc<Fake>,
    server: Server,
}

impl Bench {
    fn start() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let backend = Arc::new(Fake::default());
        let socket = directory.path().join("run/deep/skiff.sock");
        let server = Server::start(backend.clone(), &socket, Some(([127, 0, 0, 1], 0).into())).unwrap();
        Bench { directory, backend, server }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("run/deep/skiff.sock")
    }

    /// Sends raw bytes and reads until the server closes.
    fn raw(&self, request: &[u8]) -> String {
        raw(UnixStream::connect(self.socket()).unwrap(), request)
    }
}

fn raw(mut stream: impl io::Read + io::Write, request: &[u8]) -> String {
    // The server may answer and close before it has read an oversized body.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(body: &str) -> Vec<u8> {
    format!(
        "POST /v1/ip HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\
         \r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes()
}

#[test]
fn the_client_gets_what_the_backend_says() {
    let bench = Bench::start();
    let client = Client::new(bench.socket());
    assert_eq!(client.ip(&["-j".into(), "link".into()]).unwrap(), Reply::ok("-j link"));
    let refused = client.ip(&["bad".into()]).unwrap();
    assert_eq!((refused.exit, refused.stderr.as_str()), (1, "skiff: ip bad: File exists\n"));
    assert_eq!(client.show(Show::Mem, true).unwrap().stdout, "Mem true");
    assert_eq!(client.show(Show::Lcores, false).unwrap().stdout, "Lcores false");
    assert_eq!(client.metrics().unwrap(), "skiff_up 1\n");
}

#[test]
fn what_goes_on_is_read_in_pieces() {
    let bench = Bench::start();
    let client = Client::new(bench.socket());
    let trace = |body: &str, most: usize| {
        let (mut text, mut pieces) = (String::new(), 0);
        let refused = client.stream("/v1/trace", body.into(), |piece| {
            text.push_str(std::str::from_utf8(piece).unwrap());
            pieces += usize::from(!piece.is_empty());
            pieces < most
        });
        (refused.unwrap(), text)
    };
    assert_eq!(trace(r#"{"count": 6}"#, 99), (None, "5\n3\n1\n".to_owned()));
    assert_eq!(trace(r#"{"count": 100000}"#, 1), (None, "99999\n".to_owned()), "until nobody wants more");
    let (refused, text) = trace(r#"{"count": 1, "device": "nowhere"}"#, 99);
    assert_eq!(text, "");
    assert_eq!(refused.unwrap(), Reply::failed(1, "skiff: trace: nowhere: no such interface\n"));
    let error = client.stream("/v1/trace", b"{}".to_vec(), |_| true).unwrap_err();
    assert!(error.to_string().contains("400"), "{error}");
}

#[test]
fn raw_requests_get_plain_answers() {
    let bench = Bench::start();
    assert!(
        bench.raw(&get("/v1/drops?json=true")).ends_with(r#"{"stdout":"Drops true","stderr":"","exit":0}"#)
    );
    assert!(bench.raw(&get("/healthz")).ends_with("\r\n\r\nok\n"));
    bench.backend.sick.store(true, Ordering::Relaxed);
    let sick = bench.raw(&get("/healthz"));
    assert!(sick.starts_with("HTTP/1.1 503") && sick.ends_with("lcore 1 stands still\n"), "{sick}");
    assert!(bench.raw(&get("/nothing")).starts_with("HTTP/1.1 404"));
    assert!(bench.raw(&get("/v1/ip")).starts_with("HTTP/1.1 405"));
}

#[test]
fn bad_bodies_are_refused_with_a_message_and_reach_nobody() {
    let bench = Bench::start();
    for body in
        ["", "{", "[]", r#"{"args":"link"}"#, r#"{"args":[1]}"#, r#"{"argv":[]}"#, r#"{"args":[],"x":1}"#]
    {
        let answer = bench.raw(&post(body));
        assert!(answer.starts_with("HTTP/1.1 400"), "{body}: {answer}");
        assert!(!answer.ends_with("\r\n\r\n"), "{body}: no message");
    }
    let huge = format!(r#"{{"args":["{}"]}}"#, "x".repeat(routes::MAX_BODY));
    assert!(bench.raw(&post(&huge)).starts_with("HTTP/1.1 413"));
    let untyped =
        String::from_utf8(post(r#"{"args":[]}"#)).unwrap().replace("application/json", "text/plain");
    assert!(bench.raw(untyped.as_bytes()).starts_with("HTTP/1.1 415"));
    assert!(bench.raw(b"\x16\x03\x01\x00\xff nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
    assert_eq!(bench.backend.commands.load(Ordering::Relaxed), 0);
    assert!(bench.raw(&post(r#"{"args":["link"]}"#)).starts_with("HTTP/1.1 200"), "still serving");
}

#[test]
fn tcp_serves_scrapers_only() {
    let bench = Bench::start();
    let address = bench.server.metrics_address().unwrap();
    let ask = |request: &[u8]| raw(std::net::TcpStream::connect(address).unwrap(), request);
    let metrics = ask(&get("/metrics"));
    assert!(metrics.contains("text/plain; version=0.0.4") && metrics.ends_with("skiff_up 1\n"), "{metrics}");
    assert!(ask(&get("/healthz")).starts_with("HTTP/1.1 200"));
    assert!(ask(&post(r#"{"args":["link"]}"#)).starts_with("HTTP/1.1 404"));
    assert!(ask(&get("/v1/drops")).starts_with("HTTP/1.1 404"));
}

#[test]
fn many_clients_at_once_each_get_their_own_answer() {
    let bench = Bench::start();
    let socket = bench.socket();
    std::thread::scope(|scope| {
        for n in 0..32 {
            let client = Client::new(&socket);
            scope.spawn(move || {
                for i in 0..20 {
                    let word = format!("{n}.{i}");
                    assert_eq!(client.ip(std::slice::from_ref(&word)).unwrap().stdout, word);
                }
            });
        }
    });
    assert_eq!(bench.backend.commands.load(Ordering::Relaxed), 32 * 20);
}

#[test]
fn the_socket_file_is_private_and_goes_with_the_server() {
    let bench = Bench::start();
    let socket = bench.socket();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    assert_eq!(std::fs::read_dir(socket.parent().unwrap()).unwrap().count(), 1, "a temporary file was left");
    // A connection that says nothing, and one that never ends its request, must not keep the server.
    let _idle = UnixStream::connect(&socket).unwrap();
    let mut slow = UnixStream::connect(&socket).unwrap();
    slow.write_all(b"GET /metrics HTT").unwrap();
    bench.server.stop();
    assert!(!socket.exists());
}

#[test]
fn a_second_server_leaves_the_first_alone() {
    let bench = Bench::start();
    let socket = bench.socket();
    let Err(error) = Server::start(Arc::new(Fake::default()), &socket, None) else { panic!("two servers") };
    assert!(matches!(&error, ServeError::InUse(path) if *path == socket), "{error}");
    assert!(error.to_string().contains("another skiff is running"), "{error}");
    assert_eq!(Client::new(&socket).metrics().unwrap(), "skiff_up 1\n");
}

#[test]
fn a_stale_socket_is_replaced_and_a_file_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let Err(gone) = Client::new(&socket).metrics() else { panic!("a dead socket answered") };
    assert_eq!(gone.exit(), 5);
    let expected = format!(
        "{}: connection refused: is \"skiff run\" running? (--socket names another)",
        socket.display()
    );
    assert_eq!(gone.to_string(), expected);
    Server::start(Arc::new(Fake::default()), &socket, None).unwrap().stop();

    std::fs::write(&socket, "precious").unwrap();
    let Err(error) = Server::start(Arc::new(Fake::default()), &socket, None) else { panic!("bound a file") };
    assert!(matches!(error, ServeError::NotASocket(_)), "{error}");
    assert_eq!(std::fs::read(&socket).unwrap(), b"precious");
}

#[test]
fn something_else_on_the_socket_is_a_bad_answer() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let stranger = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 512];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
    });
    let Err(error) = Client::new(&socket).metrics() else { panic!("took a mail server for a daemon") };
    assert!(matches!(error, ClientError::BadAnswer { .. }), "{error}");
    assert_eq!(error.exit(), 1);
    stranger.join().unwrap();
}

#[test]
fn programs_of_netfilter_have_a_route_each_and_texts_may_be_long() {
    let bench = Bench::start();
    let client = Client::new(bench.socket());
    let call = Call { args: vec!["-n".to_owned()], input: "x".repeat(1 << 20), input_name: "f".to_owned() };
    for program in [Program::Iptables, Program::IptablesSave, Program::IptablesRestore, Program::Ipset] {
        let reply = client.netfilter(program, &call).unwrap();
        assert_eq!(reply.stdout, format!("{} -n {}", program.name(), 1 << 20));
    }
}

#[test]
fn batches_of_tc_may_be_long() {
    let bench = Bench::start();
    let client = Client::new(bench.socket());
    let call = tc::Call { args: vec!["-b".to_owned(), "-".to_owned()], input: "x".repeat(1 << 20) };
    assert_eq!(client.tc(&call).unwrap().stdout, format!("-b - {}", 1 << 20));
    let body = r#"{"args":["qdisc","show"]}"#;
    let request = format!(
        "POST /v1/tc HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\
         \r\n\r\n{body}",
        body.len()
    );
    assert!(bench.raw(request.as_bytes()).ends_with(r#"{"stdout":"qdisc show 0","stderr":"","exit":0}"#));
}
