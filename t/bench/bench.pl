# bench.pl full|quick [PART]...: performance, beside what is measured in the
# same run; see README.md.

use strict;
use warnings;

use Workflow;
use Workflow::Plugin;
use Bench::Http;
use Bench::Latency;
use Bench::Memory;
use Bench::Network;
use Bench::Report;
use Bench::Stand;
use Bench::Tasks;
use Bench::Tool;

my ($mode, @only) = @ARGV;
$mode //= '';
die "usage: bench.pl full|quick [PART]...\n" if $mode !~ /^(?:full|quick)$/;

my $quick = $mode eq 'quick';
my %size = $quick
    ? (http_seconds => 1, accepted => 20_000, tasks => 15_000,
        caps => [8, 64], alone => 300)
    : (http_seconds => 2, accepted => 100_000, tasks => 100_000,
        caps => [8, 64, 1024], pair => 1, alone => 1000, half => 20_000,
        steps => 50_000, events => 100_000,
        depths => [1000, 10_000, 100_000, 1_000_000],
        depth_tasks => 20_000, passed => 100_000, queued => 1_000_000,
        parked => 100_000, kept => 20_000, network => 20_000);

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

my $plugin = Workflow::Plugin->new('bench');
my $report = Bench::Report->new(mode => $mode, patience => $quick ? 8 : 150);

$report->note(
    'Redis keeps nothing on disk (appendonly no), for floors and for ours;'
        . ' all promises of the module are on',
    'where rates are measured nobody subscribes to llama_deploy.control_plane,'
        . ' neither for floors nor for ours',
    'a message has ' . Bench::Stand::SIZE . ' bytes; steps run on two threads'
        . ' of each worker; everything is on loopback');

$stand = Bench::Stand->new(floors => 1, plugins => [$plugin->path],
    services => {
        echo => '',
        echo64 => 'max_concurrent_tasks 64;',
        intake => 'running off;',
        $quick ? () : (
            echo1024 => 'max_concurrent_tasks 1024;',
            ask => 'workflow ask;',
            deep => 'max_concurrent_tasks 64;',
            events => 'workflow events; max_concurrent_tasks 1;',
            one => 'workflow one; max_concurrent_tasks 64;',
            three => 'workflow three; max_concurrent_tasks 64;',
        ),
    });

my @parts = (
    ['http', \&Bench::Http::measure],
    ['tasks', \&Bench::Tasks::caps],
    ['latency', \&Bench::Latency::alone],
    $quick ? () : (
        ['half', \&Bench::Latency::half],
        ['human', \&Bench::Latency::human],
        ['steps', \&Bench::Tasks::steps],
        ['events', \&Bench::Tasks::events],
        ['depth', \&Bench::Tasks::depth],
        ['memory', \&Bench::Memory::workers],
        ['bytes', \&Bench::Memory::redis],
        ['network', \&Bench::Network::measure],
    ),
);

for my $part (@parts) {
    my ($name, $measure) = @$part;
    next if @only && !grep { $name eq $_ } @only;
    $measure->($report, $stand, %size);
}

$report->note("NGINX has logged: $_") for $stand->nginx->alarms;
$report->print_table;
$report->write_json(($ENV{BUILD} // 'build') . '/bench.json');

my @far = $report->far;
print map { "$_->{what}: the ratio is below half of its goal\n" } @far;
exit($quick && @far ? 1 : 0);
