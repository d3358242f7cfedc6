// Package apachekafka runs throw-away brokers of Apache Kafka on this machine,
// for tests and for trying things out: one node that is its own controller
// (KRaft), on 127.0.0.1 alone, with a small heap and quick settings. Java runs
// it, and Maven fetches it (Fetch).
//
// A Broker is used by one goroutine at a time.
package apachekafka

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/internal/freeport"
)

// The one user of the listeners that ask for a password.
const (
	Username = "KEY"
	Password = "secret"
)

const (
	// startTimeout bounds how long a broker may take until it answers.
	startTimeout = 2 * time.Minute
	// stopTimeout bounds how long it may take to end in good order.
	stopTimeout = 30 * time.Second
	// listeners is how many ports a broker listens on.
	listeners = 4
	// starts is how often a start is tried on free ports, which others may take first.
	starts = 3
)

// Config is what a Broker is made of.
type Config struct {
	// Jars is the folder that Fetch returned.
	Jars string
	// Dir is an existing folder for the broker's data, which Close removes. What
	// a former broker left there is taken over.
	Dir string
	// Port is the first of four consecutive ports on 127.0.0.1: in the clear, SASL
	// in the clear, SASL over TLS, and the controller's own. 0 finds free ones.
	Port int
	// Settings are settings of the broker (server.properties). They override those
	// for tests.
	Settings map[string]string
}

// Broker is a broker that was started.
type Broker struct {
	cfg    Config
	java   string
	server *process // nil when it does not run
	log    *os.File
}

// Start makes the data's folder ready, starts a broker and returns when it
// answers. It returns ErrNotInstalled without Java.
func Start(ctx context.Context, cfg Config) (*Broker, error) {
	java, err := findJava(ctx)
	if err != nil {
		return nil, err
	}
	if cfg.Port != 0 {
		return start(ctx, java, cfg)
	}
	var failed error
	for range starts {
		if cfg.Port, err = freeport.Find(listeners); err != nil {
			return nil, err
		}
		b, err := start(ctx, java, cfg)
		if err == nil {
			return b, nil
		}
		failed = errors.Join(failed, err)
		if freeport.Taken(cfg.Port, listeners) == nil {
			break // it was not for a port
		}
	}
	return nil, failed
}

func start(ctx context.Context, java string, cfg Config) (*Broker, error) {
	b := &Broker{cfg: cfg, java: java}
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	if err := b.Resume(ctx); err != nil {
		return nil, errors.Join(err, b.Crash(ctx))
	}
	return b, nil
}

// prepare writes the certificates and the configuration, and formats the
// storage where that was not done before.
func (b *Broker) prepare(ctx context.Context) error {
	if err := authority(b.CAFile(), b.path("broker.pem")); err != nil {
		return err
	}
	if err := os.WriteFile(b.path("server.properties"), b.properties(), 0o600); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if _, err := os.Stat(b.path("data", "meta.properties")); !errors.Is(err, fs.ErrNotExist) {
		return err //nolint:wrapcheck // it has the path and what was done with it
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // it never fails
	id[0] = 0            // so that its text begins with a letter, as the command line needs
	args := []string{"format", "--standalone", "--cluster-id", base64.RawURLEncoding.EncodeToString(id), "--config", b.path("server.properties")}
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
		args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, Username, Password))
	}
	if out, err := b.command(ctx, "kafka.tools.StorageTool", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("format storage: %w: %s", err, lastLine(out))
	}
	return nil
}

// properties is the broker's configuration (https://kafka.apache.org/documentation/#brokerconfigs).
func (b *Broker) properties() []byte {
	controller := address(b.cfg.Port + 3)
	all := fmt.Sprintf("PLAINTEXT://%s,SASL://%s,SASLTLS://%s,CONTROLLER://%s", b.Address(), b.SASLAddress(), b.TLSAddress(), controller)
	settings := map[string]string{
		"process.roles":                       "broker,controller",
		"node.id":                             "1",
		"log.dirs":                            b.path("data"),
		"listeners":                           all,
		"advertised.listeners":                all,
		"listener.security.protocol.map":      "PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,SASLTLS:SASL_SSL,CONTROLLER:PLAINTEXT",
		"inter.broker.listener.name":          "PLAINTEXT",
		"controller.listener.names":           "CONTROLLER",
		"controller.quorum.bootstrap.servers": controller,

		"listener.name.sasltls.ssl.keystore.type":     "PEM",
		"listener.name.sasltls.ssl.keystore.location": b.path("broker.pem"),

		// One node, and tests that do not wait.
		"offsets.topic.replication.factor":                 "1",
		"offsets.topic.num.partitions":                     "1",
		"transaction.state.log.replication.factor":         "1",
		"transaction.state.log.min.isr":                    "1",
		"transaction.state.log.num.partitions":             "1",
		"share.coordinator.state.topic.replication.factor": "1",
		"share.coordinator.state.topic.min.isr":            "1",
		"share.coordinator.state.topic.num.partitions":     "1",
		"group.initial.rebalance.delay.ms":                 "0",
		"group.min.session.timeout.ms":                     "1000",
		// A broker that was killed is let in again once its old session has run out.
		"broker.session.timeout.ms":    "2000",
		"broker.heartbeat.interval.ms": "200",
		// As on Confluent Cloud: a wrong name of a topic is an error.
		"auto.create.topics.enable": "false",
		// What a clean stop waits for other brokers to take over: there are none.
		"controlled.shutdown.enable": "false",
	}
	for _, name := range []string{"sasl", "sasltls"} {
		prefix := "listener.name." + name + "."
		settings[prefix+"sasl.enabled.mechanisms"] = "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
		settings[prefix+"plain.sasl.jaas.config"] = fmt.Sprintf("org.apache.kafka.common.security.plain.PlainLoginModule required user_%s=%q;", Username, Password)
		for _, mechanism := range []string{"scram-sha-256", "scram-sha-512"} {
			settings[prefix+mechanism+".sasl.jaas.config"] = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
		}
	}
	maps.Copy(settings, b.cfg.Settings)
	var out bytes.Buffer
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&out, "%s=%s\n", key, strings.ReplaceAll(settings[key], `\`, `\\`))
	}
	return out.Bytes()
}

// command is a program of Kafka's, in a Java that starts quickly and stays small.
func (b *Broker) command(ctx context.Context, class string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.java, append([]string{ //nolint:gosec // the Java that was found
		"-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-cp", filepath.Join(b.cfg.Jars, "*"), class,
	}, args...)...)
	cmd.Dir = b.cfg.Dir
	return cmd
}

// Resume starts a broker that was stopped or crashed, on the same ports and with
// its data, and returns when it answers.
func (b *Broker) Resume(ctx context.Context) error {
	log, err := os.OpenFile(b.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	// The broker ends by a signal from here alone: ctx bounds the start.
	cmd := b.command(context.WithoutCancel(ctx), "kafka.Kafka", b.path("server.properties"))
	cmd.Stdout, cmd.Stderr = log, log
	server, err := launch(cmd)
	if err != nil {
		return errors.Join(fmt.Errorf("start broker: %w", err), log.Close())
	}
	b.server, b.log = server, log
	return b.await(ctx)
}

// await waits until the broker answers, knows of itself, and takes records.
func (b *Broker) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Address()))
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	defer client.Close()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := b.ready(ctx, client)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for broker: %w (its log is %s)", err, b.LogFile())
		case <-b.server.ended:
			return fmt.Errorf("broker ended at its start: %w (its log is %s)", errors.Join(err, b.server.how), b.LogFile())
		case <-again.C:
		}
	}
}

func (b *Broker) ready(ctx context.Context, client *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	answer, err := kadm.NewClient(client).Metadata(ctx)
	if err != nil {
		return fmt.Errorf("ask broker: %w", err)
	}
	if len(answer.Brokers) == 0 {
		return errors.New("the broker is not registered yet")
	}
	for _, topic := range answer.Topics {
		for _, partition := range topic.Partitions {
			if partition.Leader < 0 {
				return errors.New("a partition has no leader yet")
			}
		}
	}
	return nil
}

func (b *Broker) path(names ...string) string {
	return filepath.Join(append([]string{b.cfg.Dir}, names...)...)
}

// LogFile is what the broker has logged.
func (b *Broker) LogFile() string { return b.path("broker.log") }

// CAFile has the certificate authority (PEM) of the listener over TLS, made with
// the broker.
func (b *Broker) CAFile() string { return b.path("ca.pem") }

// Address is the listener in the clear, without a password.
func (b *Broker) Address() string { return address(b.cfg.Port) }

// SASLAddress is the listener in the clear that asks for Username and Password,
// by PLAIN or SCRAM.
func (b *Broker) SASLAddress() string { return address(b.cfg.Port + 1) }

// TLSAddress is the listener over TLS that asks for them as well, as Confluent
// Cloud does.
func (b *Broker) TLSAddress() string { return address(b.cfg.Port + 2) }

// TLS trusts the authority of CAFile and no other.
func (b *Broker) TLS() (*tls.Config, error) {
	text, err := os.ReadFile(b.CAFile())
	if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate", b.CAFile())
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// Ended is closed when the broker has ended, by itself or not. It is nil, and so
// blocks, when none was started.
func (b *Broker) Ended() <-chan struct{} {
	if b.server == nil {
		return nil
	}
	return b.server.ended
}

// Crash ends the broker at once (kill -9).
func (b *Broker) Crash(ctx context.Context) error { return b.end(ctx, syscall.SIGKILL) }

// Stop ends the broker in good order.
func (b *Broker) Stop(ctx context.Context) error { return b.end(ctx, syscall.SIGTERM) }

func (b *Broker) end(ctx context.Context, signal syscall.Signal) error {
	if b.server == nil {
		return nil
	}
	server := b.server
	b.server = nil
	if err := server.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal broker: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	select {
	case <-server.ended: // how is its own affair: the end was asked for
	case <-ctx.Done():
		_ = server.cmd.Process.Kill()
		<-server.ended
	}
	if err := b.log.Close(); err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}

// Close ends the broker and removes its folder.
func (b *Broker) Close(ctx context.Context) error {
	return errors.Join(b.Crash(ctx), os.RemoveAll(b.cfg.Dir))
}

// lastLine is the last line that says something: Java's message after all its settings.
func lastLine(out []byte) string {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	return string(lines[len(lines)-1])
}
