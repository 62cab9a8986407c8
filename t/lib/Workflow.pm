package Workflow;

# What the suites share: messages, waiting, a Redis and an nginx of their own.

use strict;
use warnings;

use Exporter 'import';
use HTTP::Tiny;
use IO::Socket::INET;
use JSON::PP ();
use Time::HiRes qw(time sleep);

use Workflow::Redis;
use Workflow::Nginx;

our @EXPORT = qw(free_port wait_for from_json to_json new_task send_event
    human_response message http_get http_post event_input);

my $json = JSON::PP->new->canonical->allow_nonref;

sub from_json { return $json->decode($_[0]) }
sub to_json { return $json->encode($_[0]) }

# A port of loopback that nobody listens on just now.

sub free_port {
    my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')
        or die "no free port: $!";
    return $s->sockport;
}

# Ask until the answer is true; return it, or die when it is not in time.

sub wait_for(&;$$) {
    my ($ask, $seconds, $what) = @_;
    my $end = time + ($seconds // 10);

    while (1) {
        my $answer = $ask->();
        return $answer if $answer;
        die 'not in time: ' . ($what // 'what was waited for') . "\n"
            if time > $end;
        sleep 0.005;
    }
}

# A QueueMessage.  data: a hash, or anything else to be sent as it is.

sub message {
    my ($action, $data, %fields) = @_;
    return to_json({ action => $action, data => $data, %fields });
}

# new_task('id', { arg1 => 'x' }, session_id => 's')

sub new_task {
    my ($id, $input, %data) = @_;
    return message('new_task', { task_id => $id, session_id => undef,
        input => ref $input ? to_json($input) : $input, %data });
}

sub event_input {
    my ($type, $value) = @_;
    return to_json({ __is_pydantic => JSON::PP::true, value => $value,
        qualified_name => $type =~ /\./ ? $type
            : "llama_index.core.workflow.events.$type" });
}

sub send_event {
    my ($id, $type, $value, %fields) = @_;
    return message('send_event', { task_id => $id, session_id => undef,
        input => event_input($type, $value) }, %fields);
}

sub human_response {
    my ($id, $response, %fields) = @_;
    return send_event($id, 'HumanResponseEvent', { response => $response },
        %fields);
}

# HTTP with status, headers and content in a hash, as HTTP::Tiny has it.

my $http = HTTP::Tiny->new(timeout => 30);

# A connection that was kept may be that of a worker which has ended: the request
# is made again on another one.

sub made_again {
    my ($request) = @_;
    my $answer = $request->();
    return $answer->{status} == 599
        && $answer->{content} =~ /reset|[Bb]roken|closed|end of stream/
        ? $request->() : $answer;
}

sub http_get {
    my ($url) = @_;
    return made_again(sub { $http->get($url) });
}

sub http_post {
    my ($url, $body, %headers) = @_;
    return made_again(sub { $http->post($url, { content => $body,
        headers => { 'Content-Type' => 'application/json', %headers } }) });
}

1;
