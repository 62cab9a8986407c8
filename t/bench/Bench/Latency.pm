package Bench::Latency;

# From a message to its completed_task.

use strict;
use warnings;

sub measure {
    my ($report, $stand, %size) = @_;
    my $n = $size{alone};

    $stand->flush;
    my $samples = $report->rounds('latency',
        floor => sub { $stand->bench('alone', service => 'floor', n => $n) },
        http => sub { $stand->bench('send', via => 'http', n => $n,
            http => $stand->nginx->port, path => '/echo/process_message') },
        pubsub => sub { $stand->bench('send', via => 'pubsub', n => $n) });

    $report->group('One task at a time, until its completed_task arrives',
        'accept, claim and finish scripts one after the other, and their'
        . ' message');

    for (['POST', 'http'], ['Pub/Sub', 'pubsub']) {
        my ($what, $via) = @$_;
        $report->row("$what, p50", unit => 'us', at_most => 2,
            floor => $samples->{floor}{p50}, ours => $samples->{$via}{p50});
        $report->row("$what, p99", unit => 'us', at_most => 4,
            floor => $samples->{floor}{p99}, ours => $samples->{$via}{p99});
    }
}

1;
