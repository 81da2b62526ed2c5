// Command producer sends what it reads, with franz-go or sarama. See harness/src/producer.rs for the lines.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	library, server := os.Args[1], os.Args[2]
	var err error
	if library == "franz" {
		err = franz(server)
	} else {
		err = throughSarama(server)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// each calls send for every line: its number, topic, key and value, of which nil is none.
func each(send func(number int, topic string, key, value []byte)) error {
	lines := bufio.NewScanner(os.Stdin)
	for number := 0; lines.Scan(); number++ {
		parts := strings.Split(lines.Text(), "\t")
		send(number, parts[0], text(parts[1]), text(parts[2]))
	}
	return lines.Err()
}

func text(part string) []byte {
	if part == "-" {
		return nil
	}
	return []byte(part)
}

func say(number int, err error) {
	// One call, so that lines of several goroutines do not mix.
	if err != nil {
		fmt.Printf("failed %d %v\n", number, strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	fmt.Printf("ok %d\n", number)
}

func franz(server string) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(server),
		kgo.ProducerLinger(2*time.Millisecond),
		// A broker that is killed between accepting a connection and answering it is no wrong configuration.
		kgo.AlwaysRetryEOF(),
		kgo.RetryBackoffFn(func(int) time.Duration { return 100 * time.Millisecond }),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	err = each(func(number int, topic string, key, value []byte) {
		record := &kgo.Record{Topic: topic, Key: key, Value: value}
		client.Produce(context.Background(), record, func(_ *kgo.Record, err error) { say(number, err) })
	})
	if err != nil {
		return err
	}
	return client.Flush(context.Background())
}

func throughSarama(server string) error {
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	config.Producer.Idempotent = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Net.MaxOpenRequests = 1
	// It keeps a list as long as there may be retries: this many are enough for two minutes.
	config.Producer.Retry.Max = 1200
	config.Producer.Retry.Backoff = 100 * time.Millisecond
	config.Metadata.Retry.Max = 1200
	config.Metadata.Retry.Backoff = 100 * time.Millisecond
	producer, err := sarama.NewAsyncProducer([]string{server}, config)
	if err != nil {
		return err
	}
	var told sync.WaitGroup
	told.Go(func() {
		for message := range producer.Successes() {
			say(message.Metadata.(int), nil)
		}
	})
	told.Go(func() {
		for failure := range producer.Errors() {
			say(failure.Msg.Metadata.(int), failure.Err)
		}
	})
	err = each(func(number int, topic string, key, value []byte) {
		message := &sarama.ProducerMessage{Topic: topic, Metadata: number}
		if key != nil {
			message.Key = sarama.ByteEncoder(key)
		}
		if value != nil {
			message.Value = sarama.ByteEncoder(value)
		}
		producer.Input() <- message
	})
	producer.AsyncClose()
	told.Wait()
	return err
}
