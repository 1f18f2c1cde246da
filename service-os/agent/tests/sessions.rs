//! Sessions with an agent, natively: programs on this Linux, over a Unix socket.

mod common;

use std::io::{Read, Write};
use std::thread;

use libc::{SIGINT, SIGKILL, SIGTERM};
use margay_protocol::agent::{
    Control, ControlReply, Ending, Event, Hello, Order, Place, Stream, WindowSize,
};
use margay_protocol::frame;

use common::{Agent, STDIO, lives, start, wait_until};

#[test]
fn a_program_has_its_streams_arguments_environment_and_directory() {
    let agent = Agent::start();
    let script = r#"cat; echo "$0 $1|$GREETING|$PWD"; echo oops >&2; exit 7"#;
    let mut session = agent.run(&["sh", "-c", script, "zero", "a b"]);
    session.stream(Stream::Stdin).write_all(b"typed\n").unwrap();
    session.close(Stream::Stdin);
    assert_eq!(session.text(Stream::Stdout), "typed\nzero a b|hello|/usr\n");
    assert_eq!(session.text(Stream::Stderr), "oops\n");
    assert_eq!(session.ending(), Ending::Exited(7));
    assert!(matches!(frame::read::<Event>(&session.connection), Err(frame::FrameError::Closed)));
}

#[test]
fn a_program_starts_as_it_would_from_a_shell() {
    let agent = Agent::start();
    let script = "grep -E 'SigIgn|SigBlk' /proc/self/status; ls /proc/self/fd | wc -l; ulimit -n; \
                  cat /proc/self/oom_score_adj; [ $$ = $(ps -o sid= -p $$) ] && echo leader";
    let mut session = agent.run(&["sh", "-c", script]);
    let text = session.text(Stream::Stdout);
    let lines: Vec<&str> = text.split_whitespace().collect();
    // What the tests' own environment ignores is inherited all the way.
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = own.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    let ignored = u64::from_str_radix(ignored, 16).unwrap() & !(1 << (libc::SIGPIPE - 1));
    let ignored = format!("{ignored:016x}");
    // Descriptors 0, 1, 2, and the folder itself.
    let none = "0000000000000000";
    assert_eq!(lines, ["SigBlk:", none, "SigIgn:", &ignored, "4", "1024", "0", "leader"], "{text}");
}

#[test]
fn standard_streams_can_be_opened_by_name() {
    let agent = Agent::start();
    let mut session = agent.run(&["sh", "-c", "echo out >/dev/stdout; echo err >/dev/stderr"]);
    assert_eq!(session.text(Stream::Stdout), "out\n");
    assert_eq!(session.text(Stream::Stderr), "err\n");
    assert_eq!(session.ending(), Ending::Exited(0));
}

#[test]
fn what_cannot_be_started_is_refused_with_a_shells_status() {
    let agent = Agent::start();
    for (args, want) in [
        (&["no-such-program"][..], 127),
        (&["./no-such-program"], 127),
        (&["/etc/passwd"], 126),
        (&["/usr"], 126),
        (&[], 125),
    ] {
        let mut session = agent.session(&[]);
        session.order(&Order::Start(start(args, &[])));
        match session.event() {
            Event::Refused { status, message, .. } => {
                assert_eq!(status, want, "{args:?}: {message}");
            }
            event => panic!("{args:?}: {event:?}"),
        }
    }
}

#[test]
fn an_lwk_needs_a_doorbell_memory_and_a_static_program() {
    let agent = Agent::start();
    let refused = |program: &str, streams: &[Stream]| {
        let mut session = agent.session(streams);
        let place = Place::Lwk { address: 1 << 40, bytes: 1 << 30, spin_us: 0 };
        let order = margay_protocol::agent::Start { place, ..start(&[program], streams) };
        session.order(&Order::Start(order));
        match session.event() {
            Event::Refused { status, message, .. } => (status, message),
            event => panic!("{event:?}"),
        }
    };
    let (status, message) = refused("bash", &[]);
    assert!(status == 126 && message.contains("interpreter"), "{message}");
    let (status, message) = refused("busybox", &[]);
    assert!(status == 125 && message.contains("doorbell"), "{message}");
    let (status, message) = refused("busybox", &[Stream::Doorbell]);
    assert!(status == 125 && message.contains("0x10000000000"), "{message}");
}

#[test]
fn signals_reach_the_program_and_end_it() {
    let agent = Agent::start();
    let mut session = agent.run(&["sleep", "1000"]);
    session.order(&Order::Signal(SIGTERM));
    assert_eq!(session.ending(), Ending::Signaled(SIGTERM));
    let mut session =
        agent.run(&["sh", "-c", "trap 'exit 9' INT; echo ready; while :; do sleep 0.01; done"]);
    session.await_text(Stream::Stdout, "ready");
    session.order(&Order::Signal(0));
    session.order(&Order::Signal(1000));
    session.order(&Order::Signal(SIGINT));
    assert_eq!(session.ending(), Ending::Exited(9));
    session.order(&Order::Signal(SIGKILL));
}

#[test]
fn the_end_of_a_session_is_the_end_of_its_program() {
    let agent = Agent::start();
    let mut session = agent.session(&STDIO);
    session.order(&Order::Start(start(&["sh", "-c", "sleep 1000 & echo $!; wait"], &STDIO)));
    let pid = session.started();
    let mut line = [0; 16];
    let count = session.stream(Stream::Stdout).read(&mut line).unwrap();
    let child: u32 = std::str::from_utf8(&line[..count]).unwrap().trim().parse().unwrap();
    assert!(lives(pid) && lives(child));
    drop(session);
    wait_until("both are killed", || !lives(pid) && !lives(child));
}

#[test]
fn a_terminal_is_a_terminal() {
    let agent = Agent::start();
    let streams = [Stream::Terminal];
    let mut session = agent.session(&streams);
    let script = "stty size; tty; read line; echo \"<$line>\"; trap 'stty size; exit 3' WINCH; echo ready; \
                  while :; do sleep 0.01; done";
    session.order(&Order::Start(start(&["bash", "-c", script], &streams)));
    session.started();
    session.await_text(Stream::Terminal, "33 77\r\n/dev/pts/");
    session.stream(Stream::Terminal).write_all(b"typed\r").unwrap();
    assert!(session.await_text(Stream::Terminal, "ready").contains("<typed>"));
    session.order(&Order::Resize(WindowSize { rows: 10, columns: 20 }));
    session.await_text(Stream::Terminal, "10 20");
    assert_eq!(session.text(Stream::Terminal), "");
    assert_eq!(session.ending(), Ending::Exited(3));
}

#[test]
fn a_key_is_a_signal_and_all_output_comes_before_the_end() {
    let agent = Agent::start();
    let streams = [Stream::Terminal];
    let mut session = agent.session(&streams);
    session.order(&Order::Start(start(&["sh", "-c", "echo ready; exec sleep 1000"], &streams)));
    session.started();
    session.await_text(Stream::Terminal, "ready");
    session.stream(Stream::Terminal).write_all(b"\x03").unwrap();
    assert_eq!(session.ending(), Ending::Signaled(SIGINT));

    let mut session = agent.session(&streams);
    // What is left behind does not keep the terminal open.
    let script = "sleep 1000 & seq 20000";
    session.order(&Order::Start(start(&["sh", "-c", script], &streams)));
    session.started();
    let text = session.text(Stream::Terminal);
    assert!(text.ends_with("\r\n20000\r\n"), "{}", text.len());
    assert_eq!(session.ending(), Ending::Exited(0));
}

#[test]
fn many_sessions_at_once_keep_apart() {
    let agent = Agent::start();
    thread::scope(|scope| {
        for n in 0..24_u8 {
            let agent = &agent;
            scope.spawn(move || {
                for round in 0..4 {
                    let script = format!("read x; echo $x-{n}; exit {n}");
                    let mut session = agent.run(&["sh", "-c", &script]);
                    let line = format!("{round}\n");
                    session.stream(Stream::Stdin).write_all(line.as_bytes()).unwrap();
                    assert_eq!(session.text(Stream::Stdout), format!("{round}-{n}\n"));
                    assert_eq!(session.ending(), Ending::Exited(n));
                }
            });
        }
    });
}

#[test]
fn streams_without_a_connection_are_empty() {
    let agent = Agent::start();
    let mut session = agent.session(&[]);
    session.order(&Order::Start(start(&["sh", "-c", "read x && exit 1; echo lost; exit 5"], &[])));
    session.started();
    assert_eq!(session.ending(), Ending::Exited(5));
}

#[test]
fn a_wrong_connection_disturbs_nobody() {
    let agent = Agent::start();
    let mut running = agent.run(&["cat"]);
    let session = agent.session(&[]);
    (&session.connection).write_all(&u32::MAX.to_le_bytes()).unwrap();
    let mut control = agent.connect(Hello::Control);
    control.write_all(b"\x01\0\0\0}").unwrap();
    assert_eq!(control.read(&mut [0; 1]).unwrap(), 0, "closed");
    let control = agent.connect(Hello::Control);
    for number in [1, u64::MAX] {
        frame::write(&control, &Control::Ping(number)).unwrap();
        assert_eq!(frame::read::<ControlReply>(&control).unwrap(), ControlReply::Pong(number));
    }
    running.close(Stream::Stdin);
    assert_eq!(running.ending(), Ending::Exited(0));
}

#[test]
fn power_off_ends_an_agent_that_has_no_machine() {
    let mut agent = Agent::start();
    let control = agent.connect(Hello::Control);
    frame::write(&control, &Control::PowerOff).unwrap();
    assert_eq!(agent.process.wait().unwrap().code(), Some(0));
}
