// Command member is a group member of the groups suite, made with franz-go. See groups/src/lib.rs for what it prints.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/twmb/franz-go/pkg/kgo"
)

func main() {
	group, topic := os.Args[1], os.Args[2]
	client, err := kgo.NewClient(
		kgo.SeedBrokers(os.Getenv("KAFKA_BOOTSTRAP")),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics(topic),
		kgo.Balancers(kgo.RangeBalancer()),
		kgo.DisableAutoCommit(),
		// What was polled is committed before partitions may go to another member.
		kgo.BlockRebalanceOnPoll(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(6_000_000_000),
		kgo.HeartbeatInterval(500_000_000),
	)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ctx := context.Background()
	for {
		fetches := client.PollRecords(ctx, 20)
		fetches.EachPartition(func(partition kgo.FetchTopicPartition) {
			records := partition.Records
			if len(records) == 0 {
				return
			}
			first, next := records[0].Offset, records[len(records)-1].Offset+1
			fmt.Printf("committing %d %d %d\n", partition.Partition, first, next)
			if err := client.CommitRecords(ctx, records...); err != nil {
				fmt.Printf("refused %d %d %d\n", partition.Partition, first, next)
				return
			}
			fmt.Printf("committed %d %d %d\n", partition.Partition, first, next)
		})
		client.AllowRebalance()
	}
}
