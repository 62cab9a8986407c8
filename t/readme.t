# The README's reference against the tables of directives in the source.

use strict;
use warnings;

use Test::More;
use Workflow;
use Workflow::Plugin;

sub slurp {
    open my $file, '<', $_[0] or die "$_[0]: $!";
    local $/;
    return <$file>;
}


# What the source has: "context name" => { set, default }.

my (%source, %defaults);
my %contexts = (NGX_HTTP_MAIN_CONF => 'http', NGX_HTTP_SRV_CONF => 'server',
    NGX_HTTP_LOC_CONF => 'location', NGX_HTTP_LIF_CONF => 'if');

for my $path (glob 'src/http/*.c') {
    my $text = slurp($path);
    my (%in_file, %here);

    # ngx_command_t

    while ($text =~ /\{ ngx_string\("(\w+)"\),\s+([\w|]+),\s+(\w+),/g) {
        my ($name, $flags, $set) = ($1, $2, $3);
        my @in = map { $contexts{$_} // () } split /\|/, $flags;
        $in_file{join(', ', @in) . " $name"} = { name => $name, set => $set };
    }

    # ngx_http_workflow_directive_t, by its macros

    while ($text =~ /^ +ngx_http_workflow_(\w+)_directive\((\w+),\s*(\w+),/mg) {
        $in_file{"workflow_$1 $2"} = { name => $2, set => $3 };
    }

    $here{$1} = $2
        while $text =~ /ngx_conf_init_\w*value\(\w+->(\w+), ([^)]+)\)/g;
    $here{$1} = $2
        while $text =~ /->(\w+)\.data\ ==\ NULL\)\ \{\s*
            ngx_str_set\([^,]+,\s*(".*?")/gx;
    $here{workflow_zone} = $1
        if $text =~ /zone_size = (\d[^;]+);/;

    $_->{default} = $here{ $_->{name} } for values %in_file;
    %source = (%source, %in_file);
    %defaults = (%defaults, %here);
}

# a default may stand in another file than the table

for my $directive (values %source) {
    my $default = $directive->{default} // $defaults{ $directive->{name} };
    $default = eval $default if defined $default && $default =~ /^[\d *]+$/;
    $directive->{default} = $default;
}

cmp_ok(scalar keys %source, '>=', 32, 'the tables are understood');
cmp_ok(scalar(grep { defined $_->{default} } values %source), '>=', 19,
    'and the defaults');


# What the README has: "context name" => { syntax, default, example }.

my $readme = slurp('README.md');
my %readme;

for my $section (split /^(?=#{1,4} )/m, $readme) {
    my ($name) = $section =~ /\A#### (\S+)$/m or next;
    my ($head) = $section =~ /\A####.*\n\n((?:- .*\n)+)\n/;
    my %lines = map { /^- (\w+): (.*)/ ? ($1 => $2) : () }
        split /\n/, $head // '';
    my ($example) = $section =~ /^```nginx\n(.*?)^```$/ms;

    s/`//g for my ($context, $syntax, $default) =
        map { $_ // '' } @lines{qw(Context Syntax Default)};

    ok(!$readme{"$context $name"}, "$name stands once");
    $readme{"$context $name"} = { name => $name, syntax => $syntax,
        default => $default, example => $example // '' };
    is_deeply([map { /^- (\w+)/ } split /\n/, $head // ''],
        [qw(Syntax Default Context)], "$name: syntax, default and context");
}

is_deeply([sort keys %readme], [sort keys %source],
    'the same directives, in the same contexts');


# A README's value in the source's unit.

sub value {
    my ($set, $text) = @_;

    return $text eq 'on' ? 1 : $text eq 'off' ? 0 : $text
        if $set =~ /flag/;
    return $text =~ /^(\d+)([km]?)$/ ? $1 * { '' => 1, k => 1024,
        m => 1024 ** 2 }->{$2} : $text if $set =~ /size|zone/;

    if ($set =~ /msec|sec/ && $text =~ /^(\d+)(ms|s|m|h|d)$/) {
        my $ms = $1 * { ms => 1, s => 1000, m => 60e3, h => 3600e3,
            d => 86400e3 }->{$2};
        return $set =~ /msec/ ? $ms : $ms / 1000;
    }

    return $text;
}

for my $key (sort keys %readme) {
    my $section = $readme{$key};
    my $directive = $source{$key} or next;
    my $name = $section->{name};

    like($section->{syntax}, qr/^\Q$name\E .*(?:;| \{ \.\.\. \})$/,
        "$name: syntax");
    like($section->{example}, qr/\b\Q$name\E\b/, "$name: an example");

    if (!defined $directive->{default}) {
        is($section->{default}, 'none', "$name: no default");
        next;
    }

    my ($default) = $section->{default} =~ /^\Q$name\E (.*);$/;
    my $value = value($directive->{set}, $default // '');
    $value = "\"$value\"" if $directive->{default} =~ /^"/ && $value !~ /^"/;
    is($value, $directive->{default}, "$name: default");
}


# Every example can be used.

my $temp = File::Temp->newdir('workflow-readme-XXXXXX', TMPDIR => 1);
my $plugin = Workflow::Plugin->compile("$temp/hello.so", <<'C');
#include <workflow.h>

static wf_status_t
hello(wf_run_t *run, const wf_event_t *ev)
{
    (void) ev;
    return wf_stop(run, "1", 1);
}

static const wf_step_t  steps[] = {
    { "hello", WF_TYPES(WF_START_EVENT), WF_TYPES(WF_STOP_EVENT), hello, 0,
      NULL }
};

WF_PLUGIN(WF_WORKFLOW("hello", "Says hello.", steps));
C

my ($tls) = Workflow::Nginx->new(start => 0, http =>
    'workflow_queue tasks { url rediss://127.0.0.1; }')->test;

sub file {
    my $path = "$temp/$_[0]";
    open my $file, '>', $path or die "$path: $!";
    print $file $_[1];
    close $file or die "$path: $!";
    return $path;
}

for my $key (sort keys %readme) {
    my ($name, $example) = @{ $readme{$key} }{qw(name example)};
    my ($http, $locations) = ($example, '');

    ($http, $locations) = ('', $example) if $example =~ /^location /;

    SKIP: {
        skip "$name: files that are not here", 1
            if $example =~ /rediss:/ && !$tls || $example =~ /\.pem|\.key/;

        # names and files stand for what a reader has

        my $password = file('password.conf', "password secret;\n");
        my $secret = file('secret', 'a secret of more than 16 characters');

        $http =~ s{include\s+\K[^;]+}{$password};
        $http =~ s{hash_secret_file\s+\K[^;]+}{$secret};
        $http =~ s{redis\.example\.com}{127.0.0.1}g;
        $http =~ s{workflow_load\s+\K[^;]+}{$plugin};

        $http .= "workflow_load $plugin;\n" if $http !~ /^workflow_load/m;
        $http .= "workflow_queue tasks { }\n"
            if $http !~ /^workflow_queue tasks/m;
        $http .= "workflow_service hello { workflow hello; queue tasks; }\n"
            if $http !~ /^workflow_service/m;

        Workflow::Nginx->new(start => 0, http => $http,
            locations => $locations, main => 'thread_pool slow threads=32;')
            ->passes_ok("$name: the example");
    }
}

done_testing;
