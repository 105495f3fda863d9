"""Exactly-once processing of a partition: one Kafka transaction per unit of work. It knows nothing of mail.

It may import `kafka`, never `wire` or `domain`. Read in this order:

1. `ports`, `processor`: what the engine needs from outside, a store and the code that decides.
2. `partition.view`, `partition.unit`: what one unit of work reads, changes and emits; `dead_letters` for what fails.
3. `partition.task`: the life of a partition in seven steps, the page to start from; then what it is made of:
   `partition.restore`, `partition.queues`, `partition.merged_input`, `partition.loop`, `partition.transactions`.
4. `faust`: the group, the fetching and the process.

`config` and `deadlines` have the sizes and times, `status` and `telemetry` what is shown of it all.
"""
