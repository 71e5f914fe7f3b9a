//! Which columns there are, by the width of the terminal.

/// A column of the table of ended connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Column {
    /// End of the connection, `HH:MM:SS`.
    Seconds,
    /// The same with milliseconds.
    Millis,
    /// The same with date and offset from UTC.
    Date,
    /// `comm/pid`.
    Process,
    Pid,
    Comm,
    /// `client` or `server`.
    Role,
    /// Local port only.
    LocalPort,
    Local,
    /// Who opened: `→` this host, `←` the peer.
    Arrow,
    Remote,
    Handshake,
    /// From the beginning to the end.
    Life,
    Close,
    /// Outcome with an arrow for who closed or reset.
    End,
    /// Who closed first, as a word.
    By,
    Outcome,
    AcceptWait,
    /// SYNs and SYN-ACKs repeated, `1/0`.
    SynRetransmits,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    Sent,
    Received,
    Retransmits,
    Rtt,
    /// What else is worth a word; takes the room that is left.
    Notes,
}

/// A column and its place in the line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot {
    pub(super) column: Column,
    /// First column of the terminal.
    pub(super) start: usize,
    pub(super) width: usize,
    pub(super) right: bool,
}

impl Slot {
    /// The column behind the slot.
    pub(super) const fn end(&self) -> usize {
        self.start + self.width
    }
}

/// The table's columns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    pub(super) slots: Vec<Slot>,
    /// `None`: not a terminal; nothing is shortened.
    pub(super) width: Option<usize>,
}

/// The narrowest terminal there is a layout for.
pub(super) const NARROWEST: usize = 80;

/// `[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535`.
const LONGEST_ENDPOINT: usize = 47;

impl Layout {
    pub(super) fn new(width: Option<usize>) -> Self {
        match width {
            None => Self::fixed(),
            Some(width) => Self::terminal(width.max(NARROWEST)),
        }
    }

    /// For files and programs: every column, none shortened, none with a blank in it but the last.
    fn fixed() -> Self {
        use Column::*;
        Self {
            slots: place(&[
                (Date, 29, false),
                (Pid, 7, true),
                (Comm, 15, false),
                (Role, 6, false),
                (Local, 21, false),
                (Remote, 21, false),
                (Handshake, 9, true),
                (Life, 7, true),
                (Close, 6, true),
                (By, 6, false),
                (Outcome, 15, false),
                (AcceptWait, 6, true),
                (SynRetransmits, 7, true),
                (Established, 6, true),
                (FinWait1, 9, true),
                (FinWait2, 9, true),
                (CloseWait, 10, true),
                (Closing, 7, true),
                (LastAck, 8, true),
                (Sent, 6, true),
                (Received, 6, true),
                (Retransmits, 6, true),
                (Rtt, 6, true),
                (Notes, 0, false),
            ]),
            width: None,
        }
    }

    fn terminal(width: usize) -> Self {
        use Column::*;
        let middle = width >= 100;
        let wide = width >= 120;
        let wider = width >= 160;
        let widest = width >= 176;
        let mut columns = vec![
            if middle { (Millis, 12, false) } else { (Seconds, 8, false) },
            (Process, 12, false),
            if middle { (Local, 21, false) } else { (LocalPort, 6, true) },
            (Arrow, 1, false),
            (Remote, 21, false),
            (Handshake, 5, true),
        ];
        if wide {
            columns.extend([(SynRetransmits, 7, true), (AcceptWait, 6, true)]);
        }
        if widest {
            columns.push((Established, 6, true));
        }
        columns.extend([(Life, 5, true), (Close, 5, true)]);
        if wider {
            columns.extend([(Sent, 6, true), (Received, 6, true), (Rtt, 5, true)]);
        }
        if widest {
            columns.push((Retransmits, 6, true));
        }
        // Room for `← unknown` at the end; what is left widens what is cut most often.
        let used: usize = columns.iter().map(|(_, width, _)| width + 1).sum::<usize>() + 9;
        let mut left = width.saturating_sub(used);
        let mut widen = |left: &mut usize, column: Column, most: usize| {
            if let Some((_, width, _)) = columns.iter_mut().find(|(c, ..)| *c == column) {
                let more = most.saturating_sub(*width).min(*left);
                *width += more;
                *left -= more;
            }
        };
        widen(&mut left, Process, 16);
        if widest {
            // Two notes are worth more than a long address in full.
            let addresses = left.saturating_sub(34) / 2;
            widen(&mut left, Local, (21 + addresses).min(LONGEST_ENDPOINT));
            widen(&mut left, Remote, (21 + addresses).min(LONGEST_ENDPOINT));
        } else if !wide {
            widen(&mut left, Remote, LONGEST_ENDPOINT);
        }
        columns.push((End, 9, false));
        Self { slots: place(&columns), width: Some(width) }
    }

    /// Where `column` is, if it is shown.
    pub(super) fn slot(&self, column: Column) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.column == column)
    }
}

fn place(columns: &[(Column, usize, bool)]) -> Vec<Slot> {
    let mut start = 0;
    columns
        .iter()
        .map(|&(column, width, right)| {
            let slot = Slot { column, start, width, right };
            start += width + 1;
            slot
        })
        .collect()
}

impl Column {
    /// What stands above it.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Seconds | Self::Millis | Self::Date => "TIME",
            Self::Process => "PROCESS",
            Self::Pid => "PID",
            Self::Comm => "COMM",
            Self::Role => "ROLE",
            Self::LocalPort => "LPORT",
            Self::Local => "LOCAL",
            Self::Arrow => "",
            Self::Remote => "REMOTE",
            Self::Handshake => "HANDSHAKE",
            Self::Life => "LIFE",
            Self::Close => "CLOSE",
            Self::End => "END",
            Self::By => "BY",
            Self::Outcome => "OUTCOME",
            Self::AcceptWait => "ACCEPT",
            Self::SynRetransmits => "SYN-RTX",
            Self::Established => "ESTAB",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::CloseWait => "CLOSE_WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST_ACK",
            Self::Sent => "SENT",
            Self::Received => "RECV",
            Self::Retransmits => "RETRAN",
            Self::Rtt => "RTT",
            Self::Notes => "NOTES",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_layout_fills_the_line() {
        let layout = Layout::new(Some(80));
        assert_eq!(layout.slots.last().map(Slot::end), Some(80));
        assert_eq!(Layout::new(Some(20)), layout);
    }

    #[test]
    fn no_layout_is_wider_than_its_terminal_and_none_overlaps() {
        for width in 80..400 {
            let layout = Layout::new(Some(width));
            assert!(layout.slots.last().unwrap().end() <= width, "{width}");
            for pair in layout.slots.windows(2) {
                assert_eq!(pair[0].end() + 1, pair[1].start, "{width}: {pair:?}");
            }
        }
    }
}
