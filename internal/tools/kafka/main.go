// Command kafka runs one throw-away broker of Apache Kafka on 127.0.0.1 until it
// is interrupted, for trying things out: scripts/kafka starts it. It fetches the
// broker with Maven the first time, and needs Java.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/bugle-push/bugle/internal/apachekafka"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "kafka:", err)
		os.Exit(1)
	}
}

type options struct {
	fetch  bool
	port   int
	dir    string
	topics []topic
}

type topic struct {
	name       string
	partitions int32
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("kafka", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.BoolVar(&o.fetch, "fetch", false, "only fetch, and print the folder of the jars")
	flags.IntVar(&o.port, "port", 9092, "first of four consecutive ports on 127.0.0.1; 0 finds free ones")
	flags.StringVar(&o.dir, "dir", "", "folder that keeps the data; empty uses one that is removed at the end")
	flags.Func("topic", "make a topic, `name[:partitions]`; may be repeated", func(text string) error {
		name, count, found := strings.Cut(text, ":")
		t := topic{name: name, partitions: 1}
		if found {
			n, err := strconv.ParseInt(count, 10, 32)
			if err != nil || n < 1 {
				return fmt.Errorf("%q is no number of partitions", count)
			}
			t.partitions = int32(n)
		}
		o.topics = append(o.topics, t)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return o, fmt.Errorf("read options: %w", err)
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	jars, err := apachekafka.Fetch(ctx, stderr)
	if err != nil {
		return err
	}
	if o.fetch {
		fmt.Fprintln(stdout, jars)
		return nil
	}
	dir, end, err := folder(o.dir)
	if err != nil {
		return err
	}
	broker, err := apachekafka.Start(ctx, apachekafka.Config{Jars: jars, Dir: dir, Port: o.port})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end(context.WithoutCancel(ctx), broker)) }()
	for _, t := range o.topics {
		if err := create(ctx, broker, t); err != nil {
			return err
		}
	}
	fmt.Fprintf(stdout, "Apache Kafka %s\n", apachekafka.Version())
	fmt.Fprintf(stdout, "  PLAINTEXT       %s\n", broker.Address())
	fmt.Fprintf(stdout, "  SASL_PLAINTEXT  %s  PLAIN or SCRAM, user %s, password %s\n", broker.SASLAddress(), apachekafka.Username, apachekafka.Password)
	fmt.Fprintf(stdout, "  SASL_SSL        %s  the same, authority %s\n", broker.TLSAddress(), broker.CAFile())
	fmt.Fprintf(stdout, "  log             %s\nCtrl-C ends it.\n", broker.LogFile())
	select {
	case <-ctx.Done():
		return nil
	case <-broker.Ended():
		return fmt.Errorf("the broker ended by itself (its log is %s)", broker.LogFile())
	}
}

// folder returns where the data lives, and how the broker there is ended.
func folder(dir string) (string, func(context.Context, *apachekafka.Broker) error, error) {
	if dir == "" {
		dir, err := os.MkdirTemp("", "bugle-kafka-")
		if err != nil {
			return "", nil, fmt.Errorf("make folder: %w", err)
		}
		return dir, func(ctx context.Context, b *apachekafka.Broker) error { return b.Close(ctx) }, nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", nil, fmt.Errorf("find folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("make folder: %w", err)
	}
	return dir, func(ctx context.Context, b *apachekafka.Broker) error { return b.Stop(ctx) }, nil
}

func create(ctx context.Context, b *apachekafka.Broker, t topic) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Address()))
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	defer client.Close()
	answer, err := kadm.NewClient(client).CreateTopic(ctx, t.partitions, 1, nil, t.name)
	if err = errors.Join(err, answer.Err); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("make topic %s: %w", t.name, err)
	}
	return nil
}
