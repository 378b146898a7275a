"""The columns of the two sheets, by position: the name in the lake and how the text is read. Nothing of this comes from meetlake's code."""

TEXT, TIME, DURATION, INTEGER, BOOL, KBPS, MS, PERCENT = "text", "time", "duration", "integer", "bool", "kbps", "ms", "percent"

MEETING = [
    ("meeting_no", TEXT), ("is_external", BOOL), ("topic", TEXT), ("meeting_type", TEXT), ("organizer_name", TEXT),
    ("organizer_department", TEXT), ("organizer_user_id", TEXT), ("organizer_employee_no", TEXT), ("organizer_email", TEXT),
    ("organizer_mobile", TEXT), ("start_time", TIME), ("end_time", TIME), ("duration_s", DURATION), ("participant_count", INTEGER),
    ("device_count", INTEGER), ("used_audio", BOOL), ("used_video", BOOL), ("used_screen_share", BOOL), ("was_recorded", BOOL),
    ("used_phone", BOOL),
]
FIGURES = [("bitrate_kbps", KBPS), ("latency_ms", MS), ("jitter_ms", MS), ("loss_avg_percent", PERCENT), ("loss_max_percent", PERCENT)]
QUALITY = (
    [("time", TIME)]
    + [
        (f"{medium}_{direction}_{figure}", kind)
        for medium in ("audio", "video", "share")
        for direction in ("recv", "send")
        for figure, kind in FIGURES
    ]
    + [(f"{name}_percent", PERCENT) for name in ("client_cpu_min", "client_cpu_avg", "client_cpu_max", "system_cpu_max")]
)
LAYOUTS = {"meeting": MEETING, "quality": QUALITY}
KEYS = {"meeting": ["start_time", "meeting_no", "end_time"], "quality": ["time"]}
