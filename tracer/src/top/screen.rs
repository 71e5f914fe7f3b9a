//! The thread that has the terminal: reads keys, shows the newest view.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, raise};
use nix::unistd::read;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use tokio::sync::Notify;

use super::app::{App, Effect};
use super::draw;
use super::keys::Keys;
use super::stderr::{self, Lines};
use super::tty::{self, Frames};
use super::view::{View, Wish};

/// Between two frames at least: ten a second are enough for an eye, and for a slow line.
const FRAME: Duration = Duration::from_millis(100);
/// How often it looks for something new.
const LOOK: Duration = Duration::from_millis(50);
/// How long the thread may take to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// What both threads know.
#[derive(Default)]
pub(super) struct Shared {
    view: Mutex<Option<Box<View>>>,
    wish: Mutex<Wish>,
    stop: Arc<AtomicBool>,
    /// SIGTSTP came.
    pub(super) suspend: AtomicBool,
    /// SIGCONT came.
    pub(super) resumed: AtomicBool,
    failed: Mutex<Option<String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Hands over a newer view; one that was not looked at is gone.
    pub(super) fn show(&self, view: Box<View>) {
        let missed = locked(&self.view).replace(view);
        drop(missed);
    }

    /// What the next view should hold.
    pub(super) fn wish(&self) -> Wish {
        locked(&self.wish).clone()
    }
}

/// The thread, from outside.
pub(super) struct Screen {
    pub(super) shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Screen {
    /// Takes the terminal over. `quit` is notified when the user wants to end, or the terminal has
    /// gone.
    pub(super) fn start(
        out: Arc<File>,
        color: bool,
        messages: Option<Arc<Mutex<Lines>>>,
        quit: Arc<Notify>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        tty::enter(&out)?;
        let thread = std::thread::Builder::new().name("tracer-top".into()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                let guard = Guard { shared: &shared, quit: &quit };
                let mut app = App::new(color);
                if let Err(error) = run(&shared, &mut app, out, messages.as_deref()) {
                    *locked(&shared.failed) = Some(format!("the terminal: {error}"));
                }
                drop(guard);
            }
        });
        match thread {
            Ok(thread) => Ok(Self { shared, thread: Some(thread) }),
            Err(error) => {
                tty::leave();
                Err(error)
            }
        }
    }

    /// Gives the terminal back; why it was given back before, if it was.
    pub(super) fn leave(&mut self) -> Option<String> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        if let Some(thread) = self.thread.take() {
            while !thread.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            // One that does not end has told nobody to wait for it; it ends with the process.
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
        tty::leave();
        locked(&self.shared.failed).take()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
    }
}

/// Whatever ends the thread, tracer does not go on without anybody who looks.
struct Guard<'a> {
    shared: &'a Shared,
    quit: &'a Notify,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            *locked(&self.shared.failed) = Some("a mistake in tracer".to_owned());
        }
        self.quit.notify_one();
    }
}

fn run(
    shared: &Shared,
    app: &mut App,
    out: Arc<File>,
    messages: Option<&Mutex<Lines>>,
) -> io::Result<()> {
    let frames = Frames::new(Arc::clone(&out), Arc::clone(&shared.stop));
    let mut terminal = Terminal::new(CrosstermBackend::new(frames))?;
    let mut keys = Keys::default();
    let mut version = 0;
    let mut drawn: Option<Instant> = None;
    let mut dirty = true;
    while !shared.stop.load(Ordering::Relaxed) {
        if let Some(view) = locked(&shared.view).take() {
            dirty |= app.show(view);
        }
        if let Some(messages) = messages {
            let lines = stderr::locked(messages);
            if lines.version != version {
                version = lines.version;
                app.messages = Arc::new(lines.shown());
                dirty = true;
            }
        }
        match press(app, &mut keys)? {
            Pressed::Nothing => {}
            Pressed::Some(Effect::Nothing) => dirty = true,
            Pressed::Some(Effect::Quit) | Pressed::Gone => return Ok(()),
            Pressed::Some(Effect::Suspend) => shared.suspend.store(true, Ordering::Relaxed),
            Pressed::Some(Effect::Redraw) => shared.resumed.store(true, Ordering::Relaxed),
        }
        if dirty {
            app.wish().clone_into(&mut locked(&shared.wish));
        }
        if shared.suspend.swap(false, Ordering::Relaxed) {
            tty::leave();
            // The whole process, which goes on here once it is told to: sent to this thread, it is
            // there before the next line is.
            raise(Signal::SIGSTOP)?;
            shared.resumed.store(true, Ordering::Relaxed);
        }
        if shared.resumed.swap(false, Ordering::Relaxed) {
            tty::enter(&out)?;
            // Everything is drawn anew. (`clear` would ask the terminal where its cursor is, and
            // take keys for the answer.)
            terminal.resize(terminal.size()?.into())?;
            dirty = true;
        }
        // The terminal's size may have changed as well.
        let size = terminal.size()?;
        dirty |= size != terminal.get_frame().area().as_size();
        if dirty && drawn.is_none_or(|drawn| drawn.elapsed() >= FRAME) {
            drawn = Some(Instant::now());
            dirty = false;
            terminal.draw(|frame| draw::draw(app, frame))?;
        }
    }
    Ok(())
}

/// What came of the keys pressed.
enum Pressed {
    Nothing,
    Some(Effect),
    /// Nobody can press any more.
    Gone,
}

/// Waits a moment for keys and hands those that came to `app`.
fn press(app: &mut App, keys: &mut Keys) -> io::Result<Pressed> {
    let stdin = io::stdin();
    let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(LOOK).unwrap_or(PollTimeout::ZERO);
    match poll(&mut fds, timeout) {
        Ok(0) => {
            let escape = keys.quiet();
            return Ok(escape.map_or(Pressed::Nothing, |key| Pressed::Some(app.key(key))));
        }
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(Pressed::Nothing),
        Err(error) => return Err(error.into()),
    }
    let mut bytes = [0; 256];
    let length = match read(stdin.as_fd(), &mut bytes) {
        // A terminal that hung up.
        Ok(0) | Err(Errno::EIO) => return Ok(Pressed::Gone),
        Ok(length) => length,
        Err(Errno::EINTR | Errno::EAGAIN) => return Ok(Pressed::Nothing),
        Err(error) => return Err(error.into()),
    };
    let mut result = Pressed::Nothing;
    for key in keys.take(bytes.get(..length).unwrap_or_default()) {
        match app.key(key) {
            Effect::Nothing => result = Pressed::Some(Effect::Nothing),
            effect => return Ok(Pressed::Some(effect)),
        }
    }
    Ok(result)
}
