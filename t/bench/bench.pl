# bench.pl full|quick|peers: performance, beside what is measured in the same
# run; see README.md.

use strict;
use warnings;

use Workflow;
use Bench::Http;
use Bench::Latency;
use Bench::Report;
use Bench::Stand;
use Bench::Tasks;
use Bench::Tool;

my $mode = $ARGV[0] // '';
die "usage: bench.pl full|quick|peers\n" if $mode !~ /^(?:full|quick|peers)$/;

my %size = $mode eq 'quick'
    ? (http_seconds => 1, accepted => 20_000, tasks => 20_000,
        caps => [8, 64], alone => 300)
    : (http_seconds => 2, accepted => 50_000, tasks => 100_000,
        caps => [8, 64, 1024], alone => 2000);

STDOUT->autoflush(1);

# Whatever happens, nothing is left behind.

my $stand;
my $driver = $$;
$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);
END {
    if ($$ == $driver) {
        Bench::Tool::kill_all();
        undef $stand;
    }
}

my $report = Bench::Report->new(mode => $mode,
    patience => $mode eq 'quick' ? 8 : 60);

$report->note('Redis keeps nothing on disk (appendonly no), on both sides;'
    . ' all promises of the module are on');
$report->note('while tasks a second are counted nobody subscribes to'
    . ' llama_deploy.control_plane, on both sides');
$report->note('a message has ' . Bench::Stand::SIZE . ' bytes; steps run on'
    . ' two threads of each worker');

$stand = Bench::Stand->new;

Bench::Http::measure($report, $stand, %size);
Bench::Tasks::measure($report, $stand, %size);
Bench::Latency::measure($report, $stand, %size);

$report->print_table;
$report->write_json(($ENV{BUILD} // 'build') . '/bench.json');

my @far = $report->far;
print map { "$_->{what}: the ratio is below half of its goal\n" } @far;
exit($mode eq 'quick' && @far ? 1 : 0);
