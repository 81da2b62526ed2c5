// Command keyed produces a value, or with "-" a tombstone, for each of the keys, with sarama's own partitioner.
// Usage: keyed TOPIC VALUE KEY...
package main

import (
	"fmt"
	"os"

	"github.com/IBM/sarama"
)

func main() {
	topic, value, keys := os.Args[1], os.Args[2], os.Args[3:]
	config := sarama.NewConfig()
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	producer, err := sarama.NewSyncProducer([]string{os.Getenv("KAFKA_BOOTSTRAP")}, config)
	if err != nil {
		fail(err)
	}
	defer producer.Close()
	for _, key := range keys {
		message := &sarama.ProducerMessage{Topic: topic, Key: sarama.StringEncoder(key)}
		if value != "-" {
			message.Value = sarama.StringEncoder(value)
		}
		if _, _, err := producer.SendMessage(message); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
