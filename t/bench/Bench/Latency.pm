package Bench::Latency;

# From a message to its completed_task.

use strict;
use warnings;

use List::Util qw(min);

use Bench::Report;
use Bench::Tool;

sub alone {
    my ($report, $stand, %size) = @_;
    my $n = $size{alone};

    $stand->flush;
    my $samples = $report->rounds('latency',
        floor => sub { $stand->bench('alone', service => 'floor', n => $n) },
        http => sub { $stand->bench('send', via => 'http', n => $n,
            http => $stand->nginx->port, path => '/echo/process_message') },
        pubsub => sub { $stand->bench('send', via => 'pubsub', n => $n) });

    $report->group('One task at a time, until its completed_task arrives',
        'the script that accepts and claims, and the transaction that ends, one'
        . ' after the other, and their message');

    for (['POST', 'http'], ['Pub/Sub', 'pubsub']) {
        my ($what, $via) = @$_;
        $report->row("$what, p50", unit => 'us', at_most => 2,
            floor => $samples->{floor}{p50}, ours => $samples->{$via}{p50});
        $report->row("$what, p99", unit => 'us', at_most => 4,
            floor => $samples->{floor}{p99}, ours => $samples->{$via}{p99});
    }
}

# The peak is what gets through when 256 tasks are always under way.

sub half {
    my ($report, $stand, %size) = @_;
    my $n = $size{half};

    my $measure = sub {
        my $peak;

        $stand->flush;
        return $report->rounds('half of the peak',
            alone => sub { $stand->bench('send', n => $size{alone}) },
            peak => sub { $peak = $stand->bench('send', n => $n,
                window => 256) },
            half => sub { $stand->bench('send', n => $n,
                rate => int $peak->{rate} / 2) });
    };

    for (['Redis has a processor of its own', $stand->apart($measure),
            at_most => 10], ['processes move freely', $measure->()])
    {
        my ($how, $samples, @goal) = @$_;

        $report->group("At half of the peak rate, by Pub/Sub (open loop); $how",
            'one task at a time');
        $report->row('peak rate, 256 tasks under way', unit => '1/s',
            ours => $samples->{peak}{rate});
        $report->row('p50', unit => 'us', floor => $samples->{alone}{p50},
            ours => $samples->{half}{p50});
        $report->row('p99', unit => 'us', floor => $samples->{alone}{p99},
            ours => $samples->{half}{p99}, @goal);
    }
}

sub human {
    my ($report, $stand, %size) = @_;
    my $n = $size{alone};

    $stand->flush;
    my $samples = $report->rounds('human',
        fresh => sub { $stand->bench('send', n => $n) },
        event => sub {
            my $id = Bench::Tool::new_id();
            $stand->bench('fill', service => 'ask', n => $n, id => $id);
            $stand->parked('ask', $n);
            return $stand->bench('send', service => 'ask', via => 'event',
                n => $n, id => $id);
        });

    $report->group('A human in the loop: from the event to the end of a task'
        . ' that was parked', 'a fresh task by Pub/Sub');
    $report->row('p50', unit => 'us', at_most => 1.5,
        floor => $samples->{fresh}{p50}, ours => $samples->{event}{p50});
    $report->row('p99', unit => 'us',
        floor => $samples->{fresh}{p99}, ours => $samples->{event}{p99});
}

1;
