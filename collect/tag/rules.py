"""What tells a category without a model: the domain a row brings, else key words.

Key words are counted in the query thrice and in the answer once; they are ours, and coarse: a mixture wants
`tag.by=generator`.
"""

import re
from collections import Counter

from reer.types import Example

from .categories import CATEGORIES, OTHER

_WORDS = {
    "artistic/creative": (
        "story stories tale novel fiction character hero plot novella thriller romance",
        "故事 小说 志怪 笔记小说 悬疑 言情",
    ),
    "artistic/essay": (
        "essay reflection reflections meditation opinion argument musings sermon homily",
        "散文 随笔 杂文 小品 感悟 议论文",
    ),
    "artistic/analysis": (
        "review critique analysis interpretation commentary theme symbolism criticism",
        "评论 赏析 书评 影评 解读 主题分析",
    ),
    "artistic/script": (
        "script screenplay dialogue scene stage monologue sitcom playwright",
        "剧本 对白 台词 话剧 独白 分镜",
    ),
    "finance_business": (
        "business company market investment finance financial stock startup revenue customer bank economy trade",
        "商业 公司 市场 投资 财务 股票 创业 营收 银行 经济 贸易",
    ),
    "science_engineering": (
        "science scientific experiment species physics chemistry biology engineering software algorithm energy gas "
        "combustion evolution machine theory code",
        "科学 实验 物种 物理 化学 生物 工程 软件 算法 能源 进化 技术",
    ),
    "ordinary_life": (
        "recipe cooking family birthday letter home garden pet hobby weekend friend wedding",
        "生活 菜谱 做饭 家庭 生日 书信 宠物 朋友 婚礼",
    ),
    "scholarly": (
        "paper thesis abstract literature methodology dissertation study research citation hypothesis",
        "论文 摘要 文献 研究 综述 引言 假设",
    ),
    "advertising_marketing": (
        "advertisement advertising marketing slogan brand campaign promotional product copywriting",
        "广告 营销 品牌 文案 促销 宣传 标语",
    ),
    "education": (
        "teach teacher teaching student lesson classroom school course curriculum exam homework",
        "教学 老师 学生 课程 课堂 学校 教案 考试 作业",
    ),
    "law": (
        "law legal court contract judge statute attorney clause rights lawsuit constitution constitutional",
        "法律 法院 合同 法官 条款 律师 诉讼 宪法",
    ),
    "politics": (
        "government president election senate congress policy union nation political republic citizens inaugural",
        "政府 总统 选举 国会 政策 国家 政治 共和国 公民 外交",
    ),
    "artistic/poetry": (
        "poem poems poetry ballad sonnet haiku ode verse stanza limerick",
        "诗歌 诗 散文诗 十四行 绝句 律诗 骈文",
    ),
    "artistic/lyrics": ("lyrics song songs chorus rap hymn", "歌词 副歌 说唱 词曲"),
    "artistic/fable_myth": ("fable parable fairy legend myth mythological folktale allegory", "寓言 神话 传说 童话"),
    "artistic/children": ("children children's bedtime toddler nursery", "儿童 睡前故事 绘本 儿歌"),
    "artistic/worldbuilding": ("worldbuilding setting lore backstory campaign dungeon", "世界观 设定 人设 背景故事"),
    "artistic/humor_satire": ("joke jokes parody satire satirical funny comic humorous", "笑话 讽刺 幽默 段子 恶搞"),
    "artistic/life_writing": ("memoir autobiography diary biography portrait", "回忆录 自传 日记 传记 人物小传"),
    "artistic/travel_nature": ("travel trip journey landscape travelogue mountain river", "游记 旅行 山水 风景 园林"),
    "history_culture": (
        "history historical ancient religion culture philosophy dynasty empire tradition",
        "历史 古代 宗教 文化 哲学 王朝 民俗",
    ),
    "health": (
        "health medical doctor patient disease exercise diet therapy symptoms",
        "健康 医疗 疾病 锻炼 饮食 症状",
    ),
    "journalism": ("news report interview journalist headline editorial newspaper", "新闻 报道 采访 记者 社论"),
    "workplace": (
        "email memo minutes resume cv application meeting colleague manager resignation",
        "邮件 通知 会议纪要 简历 求职 同事 述职 辞职",
    ),
}
_BROUGHT = {
    "creative_writing": "artistic/creative", "fable": "artistic/fable_myth", "humor": "artistic/humor_satire",
    "fiction": "artistic/creative", "poetry": "artistic/poetry", "essay": "artistic/essay",
    "memoir": "artistic/life_writing", "philosophy": "artistic/essay", "script": "artistic/script",
    "science_explanation": "science_engineering", "political_argument": "politics", "speech": "politics",
}  # fmt: skip
"""Names that datasets give to domains -> ours."""
QUERY_WEIGHT = 3


def _pattern(english: str, chinese: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(english.split())})s?\b|{'|'.join(chinese.split())}", re.IGNORECASE)


_PATTERNS = {name: _pattern(*listed) for name, listed in _WORDS.items()}


def by_rules(row: Example) -> str:
    """The category of a row: of its own domain where that is known, else of most of its key words."""
    if known := category(row.domain):
        return known
    counts = Counter({name: _count(pattern, row) for name, pattern in _PATTERNS.items()})
    [(name, count)] = counts.most_common(1)
    return name if count >= QUERY_WEIGHT else OTHER


def category(name: str) -> str | None:
    """The category that a name stands for, if any."""
    plain = name.strip().lower().replace(" ", "_")
    return plain if plain in CATEGORIES else _BROUGHT.get(plain)


def _count(pattern: re.Pattern[str], row: Example) -> int:
    return QUERY_WEIGHT * len(pattern.findall(row.query)) + len(pattern.findall(row.answer[:4000]))
