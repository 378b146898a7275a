//! The fallback reader, calamine, in a process that may die: an abort, a panic or a workbook without end costs that workbook and nothing else.
//!
//! ```text
//!   parent: take an idle child, or start one ──► request ──► rows into the sink ──► child is idle again
//!                                                   └─ dead, silent or too slow: killed, and the workbook has a reason
//! ```
//! A child is this same program under another verb. It has no environment, no file or socket beside its two pipes and no way to open one,
//! a bound on memory and processor time, and a process group of its own, so that an interrupt at the terminal is its parent's affair.
//! Children are kept, because starting one takes longer than reading a small export.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

use super::frame::{self, Frame, Request};
use super::{Error, Limits, Summary, sheet};
use crate::contract::Contract;
use crate::table::{Cell, Header, RowSink};

/// The verb under which this program is a child.
pub const VERB: &str = "parse-workbook";
/// A child that has read a workbook of this size is let go, so that no idle process holds the memory it took.
const LARGE: u64 = 16 << 20;
/// How often the clock of a request is looked at. A stop of the whole machine or of this process counts as one of these, and not as time
/// that the child has wasted.
const TICK: Duration = Duration::from_secs(1);
/// What a frame may have beside the text of its row.
const FRAME_SLACK: u64 = 16 << 20;

/// Where workbooks are read that our own reader leaves to calamine. Cheap to clone; clones share their children.
#[derive(Clone, Debug)]
pub struct Fallback(Arc<Place>);

#[derive(Debug)]
enum Place {
    Here,
    Children {
        program: PathBuf,
        idle: Mutex<Vec<Reader>>,
    },
}

impl Fallback {
    /// In children of this program, which must be meetlake itself.
    #[must_use]
    pub fn of_this_program() -> Self {
        // On Linux this stays right when the file is replaced by a newer version under a running process.
        let running = Path::new("/proc/self/exe");
        if cfg!(target_os = "linux") {
            return Self::of_program(running);
        }
        // Without a path, starting a child fails, and says so.
        Self::of_program(std::env::current_exe().unwrap_or_default())
    }

    /// In children of the meetlake at `program`.
    #[must_use]
    pub fn of_program(program: impl Into<PathBuf>) -> Self {
        Self(Arc::new(Place::Children {
            program: program.into(),
            idle: Mutex::default(),
        }))
    }

    /// In this process, which an odd workbook can then end: for tests.
    #[must_use]
    pub fn in_this_process() -> Self {
        Self(Arc::new(Place::Here))
    }

    /// Process ids of the children that wait for work.
    #[must_use]
    pub fn idle(&self) -> Vec<u32> {
        match &*self.0 {
            Place::Here => Vec::new(),
            Place::Children { idle, .. } => lock(idle).iter().map(Reader::id).collect(),
        }
    }

    /// Reads a workbook whose container and markup have been checked.
    pub(super) fn read(
        &self,
        bytes: &[u8],
        contract: &Contract,
        limits: &Limits,
        sink: &mut dyn RowSink,
    ) -> Result<Summary, Error> {
        let (program, idle) = match &*self.0 {
            Place::Here => return read_here(bytes, contract, limits, sink),
            Place::Children { program, idle } => (program, idle),
        };
        let request = Request {
            dataset: contract.dataset,
            limits: limits.clone(),
        };
        loop {
            let kept = lock(idle).pop();
            let is_new = kept.is_none();
            let mut reader = match kept {
                Some(reader) => reader,
                None => Reader::start(program).map_err(no_reader)?,
            };
            match reader.answer(&request, bytes, sink) {
                Ok(answer) => {
                    if (bytes.len() as u64) < LARGE {
                        lock(idle).push(reader);
                    }
                    return answer;
                }
                Err(Lost::AtWork(reason)) => return Err(Error::Reader(reason)),
                Err(Lost::BeforeWork(reason)) if is_new => return Err(no_reader(reason)),
                // Something ended it while it was idle.
                Err(Lost::BeforeWork(_)) => {}
            }
        }
    }
}

fn no_reader(reason: impl ToString) -> Error {
    Error::NoReader(reason.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No holder leaves anything half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads in this process; a panic of calamine (arithmetic overflows, odd paths) ends the workbook, an abort ends the process.
fn read_here(
    bytes: &[u8],
    contract: &Contract,
    limits: &Limits,
    sink: &mut dyn RowSink,
) -> Result<Summary, Error> {
    // What it was fed is forgotten after a panic.
    let read = AssertUnwindSafe(|| sheet::read_all(bytes, contract, limits, sink));
    catch_unwind(read)
        .unwrap_or_else(|_| Err(Error::Reader("it gave up in the middle of it".into())))
}

// --- the parent's side ----------------------------------------------------------------------------------------------

/// A child, and the two pipes to it. Killed when dropped.
#[derive(Debug)]
struct Reader {
    process: Mutex<Child>,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// How a child was lost.
enum Lost {
    /// It had not taken the workbook yet, so the workbook is not the reason.
    BeforeWork(String),
    AtWork(String),
}

impl Reader {
    fn start(program: &Path) -> io::Result<Self> {
        let mut process = Command::new(program)
            .arg(VERB)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // What a dying reader says may hold what it has read.
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let (to, from) = (process.stdin.take(), process.stdout.take());
        Ok(Self {
            process: Mutex::new(process),
            to: to.ok_or(io::ErrorKind::BrokenPipe)?,
            from: BufReader::with_capacity(64 << 10, from.ok_or(io::ErrorKind::BrokenPipe)?),
        })
    }

    fn id(&self) -> u32 {
        lock(&self.process).id()
    }

    /// Sends a request and hands over what comes; ends the child when its time is up.
    fn answer(
        &mut self,
        request: &Request,
        bytes: &[u8],
        sink: &mut dyn RowSink,
    ) -> Result<Result<Summary, Error>, Lost> {
        let (process, to, from) = (&self.process, &mut self.to, &mut self.from);
        thread::scope(|scope| {
            let (over, is_over) = mpsc::channel::<()>();
            let time = request.limits.time;
            let watch = scope.spawn(move || kill_in(time, process, &is_over));
            let mut has_begun = false;
            let outcome = converse(to, from, request, bytes, sink, &mut has_begun);
            drop(over);
            let is_late = watch.join().unwrap_or(false);
            outcome.map_err(|error| {
                let reason = reason(&error, is_late, process, &request.limits);
                if has_begun {
                    Lost::AtWork(reason)
                } else {
                    Lost::BeforeWork(reason)
                }
            })
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It may have ended already; and it must be waited for, or it stays in the process table.
        let process = self
            .process
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let _ = process.kill();
        let _ = process.wait();
    }
}

/// Kills `process` unless `is_over` comes first; says whether it did.
fn kill_in(time: Duration, process: &Mutex<Child>, is_over: &mpsc::Receiver<()>) -> bool {
    let mut left = time;
    while !left.is_zero() {
        let tick = left.min(TICK);
        if is_over.recv_timeout(tick) != Err(RecvTimeoutError::Timeout) {
            return false;
        }
        left -= tick;
    }
    lock(process).kill().is_ok()
}

fn converse(
    to: &mut ChildStdin,
    from: &mut BufReader<ChildStdout>,
    request: &Request,
    bytes: &[u8],
    sink: &mut dyn RowSink,
    has_begun: &mut bool,
) -> io::Result<Result<Summary, Error>> {
    let longest = request.limits.total_text_bytes.saturating_add(FRAME_SLACK);
    frame::write_request(to, request, bytes)?;
    let mut buffer = Vec::new();
    let mut has_header = false;
    loop {
        match frame::read_frame(from, &mut buffer, longest)? {
            Frame::Begun if !*has_begun => *has_begun = true,
            Frame::Sheet(header) => {
                sink.sheet(&header);
                has_header = true;
            }
            Frame::Row if has_header => {
                let (number, cells) = frame::read_row(&buffer)?;
                sink.row(number, &cells);
            }
            Frame::Summary(summary) if *has_begun => return Ok(Ok(summary)),
            Frame::Error(error) if *has_begun => return Ok(Err(error)),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Why a child gave no answer, in words for the workbook's record.
fn reason(error: &io::Error, is_late: bool, process: &Mutex<Child>, limits: &Limits) -> String {
    if is_late {
        return format!("it took longer than {} s", limits.time.as_secs_f64());
    }
    let mut process = lock(process);
    if error.kind() == io::ErrorKind::InvalidData {
        return "its answer makes no sense".to_owned();
    }
    // It has closed a pipe, so it is at its end; if it is not, this is it.
    let status = match process.try_wait() {
        Ok(Some(status)) => Ok(status),
        _ => {
            thread::sleep(Duration::from_millis(50));
            let _ = process.kill();
            process.wait()
        }
    };
    status.map_or_else(|error| error.to_string(), |status| ending(status, limits))
}

fn ending(status: ExitStatus, limits: &Limits) -> String {
    let memory = limits.memory_bytes;
    match status.signal() {
        // SIGABRT is what a failed allocation ends in.
        Some(6) => {
            format!("it aborted, most likely for want of more than {memory} bytes of memory")
        }
        Some(9) => "it was killed, perhaps because the machine had no memory left".to_owned(),
        Some(24) => "it used up its processor time".to_owned(),
        Some(signal) => format!("it crashed with signal {signal}"),
        None => format!("it ended with {status}"),
    }
}

// --- the child's side -----------------------------------------------------------------------------------------------

/// Reads workbooks from standard input to standard output until there are no more. Ends the process when its parent is gone.
#[must_use]
pub fn serve() -> ExitCode {
    // A panic's text may hold what was read; that there was one is in the answer.
    std::panic::set_hook(Box::new(|_| {}));
    match serve_until_closed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve_until_closed() -> io::Result<()> {
    let mut input = io::stdin().lock();
    // Not `Stdout`, which would look for line ends in what is binary.
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut output = BufWriter::with_capacity(64 << 10, output);
    confine()?;
    while let Some((request, length)) = frame::read_request(&mut input)? {
        limit(&request.limits)?;
        let bytes = read_workbook(&mut input, length)?;
        frame::write_frame(&mut output, &Frame::Begun)?;
        output.flush()?;
        let contract = Contract::of(request.dataset);
        let mut sink = Sender {
            output: &mut output,
            buffer: Vec::new(),
        };
        let end = match read_here(&bytes, contract, &request.limits, &mut sink) {
            Ok(summary) => Frame::Summary(summary),
            Err(error) => Frame::Error(error),
        };
        frame::write_frame(&mut output, &end)?;
        output.flush()?;
    }
    Ok(())
}

fn read_workbook(input: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let length = usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    bytes.try_reserve_exact(length)?;
    bytes.resize(length, 0);
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// What holds for the whole life of a child: nothing is opened, written to disk or dumped.
fn confine() -> io::Result<()> {
    for resource in [Resource::Core, Resource::Fsize, Resource::Nofile] {
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        setrlimit(resource, none)?;
    }
    Ok(())
}

/// What holds for one request. Processor time is counted over the life of the process, so the bound moves with it.
fn limit(limits: &Limits) -> io::Result<()> {
    let used = clock_gettime(ClockId::ProcessCPUTime).tv_sec.unsigned_abs();
    set_soft(Resource::Cpu, used + 1 + limits.time.as_secs())?;
    set_soft(Resource::As, limits.memory_bytes)
}

fn set_soft(resource: Resource, amount: u64) -> io::Result<()> {
    let maximum = getrlimit(resource).maximum;
    let amount = maximum.map_or(amount, |most| amount.min(most));
    let current = Some(amount);
    Ok(setrlimit(resource, Rlimit { current, maximum })?)
}

/// Sends what is read. Without a parent there is nobody to read for.
struct Sender<'a> {
    output: &'a mut BufWriter<File>,
    buffer: Vec<u8>,
}

impl Sender<'_> {
    fn sent(outcome: io::Result<()>) {
        if outcome.is_err() {
            std::process::exit(1);
        }
    }
}

impl RowSink for Sender<'_> {
    fn restart(&mut self) {
        // Only the parent changes readers; what has been sent cannot be taken back.
        std::process::exit(1);
    }

    fn sheet(&mut self, header: &Header) {
        Self::sent(frame::write_frame(
            self.output,
            &Frame::Sheet(header.clone()),
        ));
    }

    fn row(&mut self, number: u32, cells: &[Cell<'_>]) {
        Self::sent(frame::write_row(
            self.output,
            &mut self.buffer,
            number,
            cells,
        ));
    }
}
