package notifier

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bugle-push/bugle/devices"
	"github.com/bugle-push/bugle/internal/fault"
)

// SuppressionFormat is how a list of suppressions is written: one on each line.
type SuppressionFormat string

// The formats.
const (
	// SuppressionCSV begins with a line of column names: user and reason, and where wanted class,
	// from, until and note. Columns set_by and set_at, which an export has, are passed over.
	SuppressionCSV SuppressionFormat = "csv"
	// SuppressionNDJSON has a JSON object with the same members on each line.
	SuppressionNDJSON SuppressionFormat = "ndjson"
)

const (
	// importChunk is how many lines one transaction of an import takes.
	importChunk = 1000
	// importErrors is how many wrong lines an import tells apart.
	importErrors = 100
	// importRemembered is how many lines an import compares with the ones that follow.
	importRemembered = 4_000_000
	// maxImportLine bounds a line, in bytes: the longest suppression has less than 4 KiB.
	maxImportLine = 16 << 10
)

// SuppressionColumns are the columns of a file, in the order of an export.
func SuppressionColumns() []string {
	return []string{"user", "reason", "class", "from", "until", "note", "set_by", "set_at"}
}

// suppressionLine is a line as it is written.
type suppressionLine struct {
	User   string `json:"user"`
	Reason string `json:"reason"`
	Class  string `json:"class"`
	From   string `json:"from,omitempty"`
	Until  string `json:"until,omitempty"`
	Note   string `json:"note,omitempty"`
	SetBy  string `json:"set_by,omitempty"`
	SetAt  string `json:"set_at,omitempty"`
}

func (l suppressionLine) suppression() (Suppression, error) {
	if strings.ContainsRune(l.User, utf8.RuneError) {
		return Suppression{}, errors.New("user: has a character that was lost when the text was converted: whom does it mean?")
	}
	from, fromErr := optionalMoment("from", l.From)
	until, untilErr := optionalMoment("until", l.Until)
	if err := errors.Join(fromErr, untilErr); err != nil {
		return Suppression{}, err
	}
	return Suppression{
		User: devices.UserID(l.User), Reason: Reason(l.Reason), Class: SuppressionClass(l.Class), From: from, Until: until, Note: l.Note,
	}.Normalize()
}

func optionalMoment(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: wants a time such as 2026-09-01T12:00:00Z", name)
	}
	return t, nil
}

func lineOf(s Suppression) suppressionLine {
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339Nano)
	}
	return suppressionLine{
		User: string(s.User), Reason: string(s.Reason), Class: string(s.Class), From: at(s.From), Until: at(s.Until), Note: s.Note,
		SetBy: s.SetBy, SetAt: at(s.SetAt),
	}
}

// LineError says what is wrong with a line of a file; lines count from 1.
type LineError struct {
	Line    int
	Message string
}

// ReadSuppressions reads a list line by line. A line that is wrong yields a
// LineError and the list goes on; an error ends it, and is an Invalid fault when
// the file itself is wrong.
func ReadSuppressions(r io.Reader, f SuppressionFormat) iter.Seq2[ReadLine, error] {
	return func(yield func(ReadLine, error) bool) {
		from := &heard{Reader: r}
		lines := bufio.NewScanner(from)
		lines.Buffer(make([]byte, 0, 4096), maxImportLine)
		lines.Split(func(data []byte, atEnd bool) (int, []byte, error) {
			if atEnd && from.broken && bytes.IndexByte(data, '\n') < 0 {
				return len(data), nil, nil // half a line names somebody else
			}
			return bufio.ScanLines(data, atEnd)
		})
		parse := ndjsonLine
		if f == SuppressionCSV {
			parse = nil // until there is a header
		}
		no := 0
		for lines.Scan() {
			no++
			text := lines.Bytes()
			if no == 1 {
				text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
			}
			if len(bytes.TrimSpace(text)) == 0 {
				continue
			}
			if parse == nil {
				columns, err := csvHeader(text)
				if err != nil {
					yield(ReadLine{}, err)
					return
				}
				parse = func(text []byte) (suppressionLine, error) { return csvLine(columns, text) }
				continue
			}
			out := ReadLine{No: no}
			var line suppressionLine
			err := errors.New("is not UTF-8")
			if utf8.Valid(text) {
				line, err = parse(text)
			}
			if err == nil {
				out.Suppression, err = line.suppression()
			}
			if err != nil {
				out.Wrong = lineMessage(err)
			}
			if !yield(out, nil) {
				return
			}
		}
		err := lines.Err()
		if errors.Is(err, bufio.ErrTooLong) {
			err = fault.Newf(fault.Invalid, "line %d is longer than %d bytes", no+1, maxImportLine)
		}
		if err == nil && parse == nil {
			err = fault.New(fault.Invalid, "the file is empty: the first line must name the columns, user and reason among them")
		}
		if err != nil {
			yield(ReadLine{No: no}, err)
		}
	}
}

// heard is a reader that remembers whether it has broken off.
type heard struct {
	io.Reader
	broken bool
}

func (h *heard) Read(b []byte) (int, error) {
	n, err := h.Reader.Read(b)
	h.broken = h.broken || err != nil && !errors.Is(err, io.EOF)
	return n, err //nolint:wrapcheck // the reader's own
}

// ReadLine is a line of a list.
type ReadLine struct {
	// No counts from 1.
	No          int
	Suppression Suppression
	// Wrong says what is wrong with the line; empty when nothing is.
	Wrong string
}

// lineMessage says what is wrong with a line, without the line itself.
func lineMessage(err error) string {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	out := make([]string, len(f.Fields))
	for i, field := range f.Fields {
		out[i] = field.Path + ": " + field.Message
	}
	return strings.Join(out, "; ")
}

func csvHeader(text []byte) ([]string, error) {
	columns, err := csvFields(text)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the first line is not CSV")
	}
	for i, c := range columns {
		columns[i] = strings.TrimSpace(c)
		if !slices.Contains(SuppressionColumns(), columns[i]) || slices.Contains(columns[:i], columns[i]) {
			return nil, fault.Newf(fault.Invalid, "column %d of the first line is not one of %s, each at most once", i+1, strings.Join(SuppressionColumns(), ", "))
		}
	}
	if !slices.Contains(columns, "user") || !slices.Contains(columns, "reason") {
		return nil, fault.New(fault.Invalid, "the first line must name the columns, user and reason among them")
	}
	return columns, nil
}

func csvLine(columns []string, text []byte) (suppressionLine, error) {
	fields, err := csvFields(text)
	if err != nil {
		return suppressionLine{}, errors.New("is not CSV")
	}
	if len(fields) != len(columns) {
		return suppressionLine{}, fmt.Errorf("has %d fields, and the first line %d", len(fields), len(columns))
	}
	var line suppressionLine
	places := line.places()
	for i, c := range columns {
		*places[c] = fields[i]
	}
	if strings.TrimFunc(line.User, blank) != line.User && !bytes.Contains(text, []byte(quoted(line.User))) {
		return suppressionLine{}, errors.New("user: begins or ends with a blank; quote it if that is meant")
	}
	return line, nil
}

// quoted is a field that is meant as it stands.
func quoted(field string) string { return `"` + strings.ReplaceAll(field, `"`, `""`) + `"` }

// blank tells whether a character is not seen at the end of a word.
func blank(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) }

// places are the members of a line by their names.
func (l *suppressionLine) places() map[string]*string {
	return map[string]*string{
		"user": &l.User, "reason": &l.Reason, "class": &l.Class, "from": &l.From, "until": &l.Until,
		"note": &l.Note, "set_by": &l.SetBy, "set_at": &l.SetAt,
	}
}

func csvFields(text []byte) ([]string, error) {
	r := csv.NewReader(bytes.NewReader(text))
	fields, err := r.Read()
	if err != nil {
		return nil, err
	}
	return fields, nil
}

// ndjsonLine is strict: a misspelt "until" would be for good, and of two members
// of one name the one that was meant would be lost.
func ndjsonLine(text []byte) (suppressionLine, error) {
	var line suppressionLine
	wrong := errors.New("is not a JSON object with only the members " + strings.Join(SuppressionColumns(), ", ") + ", each once and all of them strings")
	dec := json.NewDecoder(bytes.NewReader(text))
	if begin, err := dec.Token(); err != nil || begin != json.Delim('{') {
		return line, wrong
	}
	places := line.places()
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return line, wrong
		}
		key, _ := name.(string)
		place := places[key]
		delete(places, key)
		value, err := dec.Token()
		if err != nil || place == nil {
			return line, wrong
		}
		text, ok := value.(string)
		if !ok && value != nil {
			return line, wrong
		}
		*place = text
	}
	if _, err := dec.Token(); err != nil {
		return line, wrong
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return line, errors.New("has more than one JSON value")
	}
	return line, nil
}

// WriteSuppressions writes a part of a list; header says that it is the first.
func WriteSuppressions(w io.Writer, f SuppressionFormat, header bool, list []Suppression) error {
	if f == SuppressionNDJSON {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		for _, s := range list {
			if err := enc.Encode(lineOf(s)); err != nil {
				return fmt.Errorf("write suppressions: %w", err)
			}
		}
		return nil
	}
	out := csv.NewWriter(w)
	if header {
		_ = out.Write(SuppressionColumns()) // Flush tells
	}
	for _, s := range list {
		l := lineOf(s)
		rest := []string{l.Reason, l.Class, l.From, l.Until, l.Note, l.SetBy, l.SetAt}
		if strings.TrimFunc(l.User, blank) == l.User {
			_ = out.Write(slices.Concat([]string{l.User}, rest))
			continue
		}
		out.Flush()
		if _, err := io.WriteString(w, quoted(l.User)+","); err != nil {
			return fmt.Errorf("write suppressions: %w", err)
		}
		_ = out.Write(rest)
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("write suppressions: %w", err)
	}
	return nil
}

// ImportReport says what an import did.
type ImportReport struct {
	// Lines counts the lines with a suppression, wrong ones included; Changed those that were
	// written, Unchanged those that said what the list said already.
	Lines, Changed, Unchanged int
	// Wrong counts the wrong lines, and Errors tells the first of them apart.
	Wrong  int
	Errors []LineError
	// Kept counts the lines that say less than what was in force, of which the longer and the stricter
	// was kept, and KeptLines the first of them. They are among Changed and Unchanged.
	Kept      int
	KeptLines []int
}

// saidBefore remembers what the lines of an import have said, by hashes: an
// import may be long.
type saidBefore struct {
	seed  maphash.Seed
	lines map[uint64]uint64
}

// otherwise tells whether an earlier line has said otherwise of the same user and
// reason: a user has one suppression for each, and the one that counts now might
// be the one that is lost.
func (b *saidBefore) otherwise(s Suppression) bool {
	type said struct {
		class       SuppressionClass
		from, until int64
		note        string
	}
	key := maphash.Comparable(b.seed, s.Key())
	now := maphash.Comparable(b.seed, said{s.Class, s.From.UnixMicro(), s.Until.UnixMicro(), s.Note})
	before, known := b.lines[key]
	if !known && len(b.lines) < importRemembered {
		b.lines[key] = now
	}
	return known && before != now
}

// ImportSuppressions reads a list and sets what it says, in chunks of 1000
// lines: each is set as a whole, or left out when one of its lines is wrong.
// Nothing is taken back, and nothing shortened (KeepLonger): who is not in the file
// stays in the list, and who is in it for a shorter time for the longer one. An error ends
// it; what the report counts is in the list all the same.
func ImportSuppressions(ctx context.Context, list Suppressor, by Actor, r io.Reader, f SuppressionFormat) (report ImportReport, err error) {
	var chunk []Suppression
	var lines []int // of the chunk
	count, wrong := 0, false
	read := saidBefore{seed: maphash.MakeSeed(), lines: map[uint64]uint64{}}
	flush := func() error {
		if !wrong && len(chunk) > 0 {
			done, err := list.Suppress(ctx, by, chunk, KeepLonger)
			if err != nil {
				return err
			}
			report.Changed += done.Changed
			report.Unchanged += len(chunk) - done.Changed
			report.keep(done.Kept, chunk, lines)
		}
		count, wrong, chunk, lines = 0, false, chunk[:0], lines[:0]
		return nil
	}
	for line, err := range ReadSuppressions(r, f) {
		if err != nil {
			return report, err
		}
		report.Lines++
		count++
		if line.Wrong == "" && read.otherwise(line.Suppression) {
			line.Wrong = "says otherwise than an earlier line for the same user and reason"
		}
		if line.Wrong == "" {
			chunk, lines = append(chunk, line.Suppression), append(lines, line.No)
		} else {
			wrong = true
			report.Wrong++
			if len(report.Errors) < importErrors {
				report.Errors = append(report.Errors, LineError{Line: line.No, Message: line.Wrong})
			}
		}
		if count == importChunk {
			if err := flush(); err != nil {
				return report, err
			}
		}
	}
	return report, flush()
}

// keep counts the lines of a chunk that said less than what was in force.
func (r *ImportReport) keep(kept []SuppressionKey, chunk []Suppression, lines []int) {
	if len(kept) == 0 {
		return
	}
	for i, s := range chunk {
		if !slices.Contains(kept, s.Key()) {
			continue
		}
		r.Kept++
		if len(r.KeptLines) < importErrors {
			r.KeptLines = append(r.KeptLines, lines[i])
		}
	}
}
