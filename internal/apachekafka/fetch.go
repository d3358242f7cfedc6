package apachekafka

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/bugle-push/bugle/internal/fault"
)

// minJava is the oldest Java that a broker of Kafka 4 runs on
// (https://kafka.apache.org/documentation/#java).
const minJava = 17

// fetchTimeout bounds what Maven may take for some 45 MB.
const fetchTimeout = 5 * time.Minute

// ErrNotInstalled is returned where this machine has no Java that is new enough,
// or no Maven to fetch the broker with.
var ErrNotInstalled error = fault.New(fault.NotFound, "no Java 17 or later, or no Maven, is installed here")

//go:embed pom.xml
var pom []byte

// Version is the version of Kafka that Fetch brings.
func Version() string {
	var project struct {
		Version string `xml:"properties>kafka.version"`
	}
	if err := xml.Unmarshal(pom, &project); err != nil {
		return "" // a test reads it
	}
	return project.Version
}

// Fetch returns the folder with the broker's jars. They lie in the user's cache;
// where they do not yet, Maven brings them from Maven Central, checks their
// checksums, and says on progress that it does. Several processes may fetch at
// once. It returns ErrNotInstalled without Java or, when there is something to
// fetch, without Maven.
func Fetch(ctx context.Context, progress io.Writer) (string, error) {
	if _, err := findJava(ctx); err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache: %w", err)
	}
	sum := sha256.Sum256(pom)
	dir := filepath.Join(cache, "bugle", "kafka-"+Version()+"-"+hex.EncodeToString(sum[:4]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return "", fmt.Errorf("%w: mvn: %w", ErrNotInstalled, err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return "", fmt.Errorf("make cache: %w", err)
	}
	// What has the folder's name is complete: it gets the name at the end.
	part, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+".part-")
	if err != nil {
		return "", fmt.Errorf("make folder: %w", err)
	}
	defer os.RemoveAll(part) //nolint:errcheck // gone under its new name, or of no use
	fmt.Fprintf(progress, "fetching Apache Kafka %s with Maven into %s\n", Version(), dir)
	if err := copyJars(ctx, mvn, part); err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(part, "jars"), dir); err != nil && !errors.Is(err, fs.ErrExist) {
		if _, statErr := os.Stat(dir); statErr != nil {
			return "", fmt.Errorf("keep jars: %w", err)
		}
	}
	return dir, nil
}

// copyJars puts the jars into part/jars.
func copyJars(ctx context.Context, mvn, part string) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	file := filepath.Join(part, "pom.xml")
	if err := os.WriteFile(file, pom, 0o600); err != nil {
		return fmt.Errorf("write pom: %w", err)
	}
	cmd := exec.CommandContext(ctx, mvn, "--batch-mode", "--quiet", "-Dstyle.color=never", "--strict-checksums", "--file", file, //nolint:gosec // the Maven that was found
		"dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+filepath.Join(part, "jars"))
	cmd.Dir = part
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("fetch Kafka with Maven: %w: %s", err, firstLine(out))
	}
	return nil
}

// reset is what Maven ends colours with, even where it uses none.
const reset = "\x1b[0m"

// firstLine is the first line that says something; Maven's further ones repeat it at length.
func firstLine(out []byte) string {
	for line := range strings.Lines(strings.ReplaceAll(string(out), reset, "")) {
		if line = strings.TrimSpace(line); line != "" {
			return line
		}
	}
	return "no output"
}

// findJava returns the Java of the PATH when it is new enough.
func findJava(ctx context.Context) (string, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotInstalled, err)
	}
	out, err := exec.CommandContext(ctx, java, "-version").CombinedOutput() //nolint:gosec // the Java that was found
	if err != nil {
		return "", fmt.Errorf("ask Java for its version: %w", err)
	}
	if v := javaVersion(string(out)); v < minJava {
		return "", fmt.Errorf("%w: %s is of version %d", ErrNotInstalled, java, v)
	}
	return java, nil
}

// javaVersion reads the first number of `openjdk version "17.0.15" 2025-04-15`;
// 0 when there is none. Versions before 9 call themselves 1.8.
func javaVersion(out string) int {
	_, rest, _ := strings.Cut(out, `version "`)
	number, _, _ := strings.Cut(rest, `"`)
	major, _, _ := strings.Cut(number, ".")
	major, _, _ = strings.Cut(major, "-") // 25-ea
	v, err := strconv.Atoi(major)
	if err != nil {
		return 0
	}
	return v
}
