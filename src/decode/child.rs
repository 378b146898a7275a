//! The fallback reader, calamine, in a child process. An abort, a panic or a workbook that never
//! ends costs that workbook and nothing else.
//!
//! ```text
//! parent: take an idle child, or start one ─► request ─► rows into the sink ─► child is idle again
//!                                                └─► dead, silent or too slow: child is killed,
//!                                                    and the workbook fails with that reason
//! ```
//! A child is this same program under another verb. It has no environment variables. It has no file
//! or socket but its two pipes, and it cannot open one. Its memory and processor time are bounded.
//! It has its own process group, so that an interrupt at the terminal reaches only its parent.
//! Children are reused, because starting one takes longer than reading a small export.

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

use super::frame::{self, Frame, ReadRequest};
use super::{DecodeSummary, Error, WorkbookLimits, sheet};
use crate::contract::Contract;
use crate::table::{Cell, Header, RowSink};

/// The verb that makes this program a child that reads workbooks.
pub const READER_VERB: &str = "parse-workbook";
/// A child that has read a workbook of this size or more is not reused. So no idle process holds on
/// to much memory.
const MAX_KEPT_WORKBOOK_BYTES: u64 = 16 << 20;
/// How often a request's time is counted. If the whole machine or this process is paused, the pause
/// counts as one tick at most, and not as time that the child has taken.
const TICK: Duration = Duration::from_secs(1);
/// Bytes that a frame may have on top of the text of its row.
const FRAME_OVERHEAD_BYTES: u64 = 16 << 20;

/// Where calamine reads the workbooks that our own reader does not support. Cheap to clone. Clones
/// share their children.
#[derive(Clone, Debug)]
pub struct Fallback(Arc<FallbackPlace>);

#[derive(Debug)]
enum FallbackPlace {
    #[cfg(any(test, feature = "testing"))]
    ThisProcess,
    Children {
        program: PathBuf,
        idle: Mutex<Vec<ReaderProcess>>,
    },
}

impl Fallback {
    /// Reads in children of this program, which must be meetlake itself.
    #[must_use]
    pub fn of_this_program() -> Self {
        // On Linux this path stays right when the program's file is replaced while it runs.
        let running = Path::new("/proc/self/exe");
        if cfg!(target_os = "linux") {
            return Self::of_program(running);
        }
        // If the path is unknown, starting a child fails with an error that says so.
        Self::of_program(std::env::current_exe().unwrap_or_default())
    }

    /// Reads in children of the meetlake at `program`.
    #[must_use]
    pub fn of_program(program: impl Into<PathBuf>) -> Self {
        Self(Arc::new(FallbackPlace::Children {
            program: program.into(),
            idle: Mutex::default(),
        }))
    }

    /// Reads in this process. A hostile workbook can end it, so this is for tests.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn in_this_process() -> Self {
        Self(Arc::new(FallbackPlace::ThisProcess))
    }

    /// Process ids of the children that are idle.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn idle(&self) -> Vec<u32> {
        match &*self.0 {
            FallbackPlace::ThisProcess => Vec::new(),
            FallbackPlace::Children { idle, .. } => {
                lock(idle).iter().map(ReaderProcess::id).collect()
            }
        }
    }

    /// Reads a workbook whose container and markup have been checked.
    pub(super) fn read(
        &self,
        bytes: &[u8],
        contract: &Contract,
        limits: &WorkbookLimits,
        sink: &mut dyn RowSink,
    ) -> Result<DecodeSummary, Error> {
        let (program, idle) = match &*self.0 {
            #[cfg(any(test, feature = "testing"))]
            FallbackPlace::ThisProcess => return read_here(bytes, contract, limits, sink),
            FallbackPlace::Children { program, idle } => (program, idle),
        };
        let request = ReadRequest {
            dataset: contract.dataset,
            limits: limits.clone(),
        };
        loop {
            let kept = lock(idle).pop();
            let is_new = kept.is_none();
            let mut reader = match kept {
                Some(reader) => reader,
                None => ReaderProcess::start(program).map_err(no_reader)?,
            };
            match reader.answer(&request, bytes, sink) {
                Ok(answer) => {
                    if (bytes.len() as u64) < MAX_KEPT_WORKBOOK_BYTES {
                        lock(idle).push(reader);
                    }
                    return answer;
                }
                Err(ReaderLost::AtWork(reason)) => return Err(Error::Reader(reason)),
                Err(ReaderLost::BeforeWork(reason)) if is_new => return Err(no_reader(reason)),
                // It ended while it was idle. Try the next one.
                Err(ReaderLost::BeforeWork(_)) => {}
            }
        }
    }
}

fn no_reader(reason: impl ToString) -> Error {
    Error::NoReader(reason.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A holder of the lock that panics leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads in this process. A panic of calamine (arithmetic overflow, odd paths) becomes an error. An
/// abort ends the process.
fn read_here(
    bytes: &[u8],
    contract: &Contract,
    limits: &WorkbookLimits,
    sink: &mut dyn RowSink,
) -> Result<DecodeSummary, Error> {
    // After a panic nothing that the closure has used is used again.
    let read = AssertUnwindSafe(|| sheet::read_all(bytes, contract, limits, sink));
    catch_unwind(read).unwrap_or_else(|_| {
        Err(Error::Reader(
            "it panicked while it read the workbook".into(),
        ))
    })
}

// --- the parent's side --------------------------------------------------------------------------

/// A child, and the two pipes to it. Killed when dropped.
#[derive(Debug)]
struct ReaderProcess {
    process: Mutex<Child>,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

/// When a child was lost.
enum ReaderLost {
    /// It had not taken the whole workbook yet, so the workbook is not the reason.
    BeforeWork(String),
    AtWork(String),
}

impl ReaderProcess {
    fn start(program: &Path) -> io::Result<Self> {
        let mut process = Command::new(program)
            .arg(READER_VERB)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A panic message could contain text of the workbook.
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

    #[cfg(any(test, feature = "testing"))]
    fn id(&self) -> u32 {
        lock(&self.process).id()
    }

    /// Sends a request and passes the answer's rows to `sink`. Kills the child when its time is up.
    fn answer(
        &mut self,
        request: &ReadRequest,
        bytes: &[u8],
        sink: &mut dyn RowSink,
    ) -> Result<Result<DecodeSummary, Error>, ReaderLost> {
        let (process, to, from) = (&self.process, &mut self.to, &mut self.from);
        thread::scope(|scope| {
            let (over, is_over) = mpsc::channel::<()>();
            let time = request.limits.time;
            let watch = scope.spawn(move || kill_after(time, process, &is_over));
            let mut has_begun = false;
            let outcome = exchange(to, from, request, bytes, sink, &mut has_begun);
            drop(over);
            let is_late = watch.join().unwrap_or(false);
            outcome.map_err(|error| {
                let reason = failure_reason(&error, is_late, process, &request.limits);
                if has_begun {
                    ReaderLost::AtWork(reason)
                } else {
                    ReaderLost::BeforeWork(reason)
                }
            })
        })
    }
}

impl Drop for ReaderProcess {
    fn drop(&mut self) {
        // It may have ended already. Without the wait it would stay in the process table.
        let process = self
            .process
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let _ = process.kill();
        let _ = process.wait();
    }
}

/// Kills `process` after `time`, unless `is_over` comes first. Returns whether it killed it.
fn kill_after(time: Duration, process: &Mutex<Child>, is_over: &mpsc::Receiver<()>) -> bool {
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

fn exchange(
    to: &mut ChildStdin,
    from: &mut BufReader<ChildStdout>,
    request: &ReadRequest,
    bytes: &[u8],
    sink: &mut dyn RowSink,
    has_begun: &mut bool,
) -> io::Result<Result<DecodeSummary, Error>> {
    let longest = request
        .limits
        .total_text_bytes
        .saturating_add(FRAME_OVERHEAD_BYTES);
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
            Frame::Above => {
                let (sheet, cells) = frame::read_above(&buffer)?;
                sink.above(sheet, &cells);
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

/// Why a child gave no answer, as text for the workbook's record.
fn failure_reason(
    error: &io::Error,
    is_late: bool,
    process: &Mutex<Child>,
    limits: &WorkbookLimits,
) -> String {
    if is_late {
        return format!("it took longer than {} s", limits.time.as_secs_f64());
    }
    let mut process = lock(process);
    if error.kind() == io::ErrorKind::InvalidData {
        return "its answer makes no sense".to_owned();
    }
    // It has closed a pipe, so it is about to end. If it has not ended soon, it is killed.
    let status = match process.try_wait() {
        Ok(Some(status)) => Ok(status),
        _ => {
            thread::sleep(Duration::from_millis(50));
            let _ = process.kill();
            process.wait()
        }
    };
    status.map_or_else(
        |error| error.to_string(),
        |status| describe_exit(status, limits),
    )
}

fn describe_exit(status: ExitStatus, limits: &WorkbookLimits) -> String {
    let memory = limits.memory_bytes;
    match status.signal() {
        // A failed allocation ends in SIGABRT.
        Some(6) => {
            format!("it aborted, most likely for want of more than {memory} bytes of memory")
        }
        Some(9) => "it was killed, perhaps because the machine had no memory left".to_owned(),
        Some(24) => "it used up its processor time".to_owned(),
        Some(signal) => format!("it crashed with signal {signal}"),
        None => format!("it ended with {status}"),
    }
}

// --- the child's side ---------------------------------------------------------------------------

/// Reads workbooks from standard input and writes their rows to standard output, until the input
/// ends. Exits when the parent is gone.
#[must_use]
pub fn serve_reader() -> ExitCode {
    // A panic message could contain text of the workbook. The answer says that there was a panic.
    std::panic::set_hook(Box::new(|_| {}));
    match serve_until_closed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve_until_closed() -> io::Result<()> {
    let mut input = io::stdin().lock();
    // Not `Stdout`, which would search the binary output for line ends.
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut output = BufWriter::with_capacity(64 << 10, output);
    confine_process()?;
    while let Some((request, length)) = frame::read_request(&mut input)? {
        limit_request(&request.limits)?;
        let bytes = read_workbook(&mut input, length)?;
        frame::write_frame(&mut output, &Frame::Begun)?;
        output.flush()?;
        let contract = Contract::of(request.dataset);
        let mut sink = FrameSender {
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

/// Sets the limits that hold for a child's whole life: no opened files, no writes to disk, no core
/// dumps.
fn confine_process() -> io::Result<()> {
    for resource in [Resource::Core, Resource::Fsize, Resource::Nofile] {
        let none = Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        setrlimit(resource, none)?;
    }
    Ok(())
}

/// Sets the limits of one request. The system counts processor time over the life of the process,
/// so each request raises the limit.
fn limit_request(limits: &WorkbookLimits) -> io::Result<()> {
    let used = clock_gettime(ClockId::ProcessCPUTime).tv_sec.unsigned_abs();
    set_soft_limit(Resource::Cpu, used + 1 + limits.time.as_secs())?;
    set_soft_limit(Resource::As, limits.memory_bytes)
}

fn set_soft_limit(resource: Resource, amount: u64) -> io::Result<()> {
    let maximum = getrlimit(resource).maximum;
    let amount = maximum.map_or(amount, |most| amount.min(most));
    let current = Some(amount);
    Ok(setrlimit(resource, Rlimit { current, maximum })?)
}

/// Sends what is read to the parent. Exits if the parent is gone.
struct FrameSender<'a> {
    output: &'a mut BufWriter<File>,
    buffer: Vec<u8>,
}

impl FrameSender<'_> {
    fn exit_on_error(outcome: io::Result<()>) {
        if outcome.is_err() {
            std::process::exit(1);
        }
    }
}

impl RowSink for FrameSender<'_> {
    fn restart(&mut self) {
        // Only the parent switches between readers. Rows that were sent cannot be taken back.
        std::process::exit(1);
    }

    fn sheet(&mut self, header: &Header) {
        Self::exit_on_error(frame::write_frame(
            self.output,
            &Frame::Sheet(header.clone()),
        ));
    }

    fn above(&mut self, sheet: &str, cells: &[Cell<'_>]) {
        Self::exit_on_error(frame::write_above(
            self.output,
            &mut self.buffer,
            sheet,
            cells,
        ));
    }

    fn row(&mut self, number: u32, cells: &[Cell<'_>]) {
        Self::exit_on_error(frame::write_row(
            self.output,
            &mut self.buffer,
            number,
            cells,
        ));
    }
}
